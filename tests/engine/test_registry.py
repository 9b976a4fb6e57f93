"""A method is one file and one line of the registry: nothing else names it to be found."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import ClassVar, get_args

import pytest
import torch
from torch import Tensor, nn

from lora_engine import registry
from lora_engine.config import LoraConfig, Method, Quantization, TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.errors import SettingsError
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import adapted, inject
from lora_engine.lora.layers import LoRALayer
from lora_engine.optimizer import make_optimizer
from lora_engine.registry import (
    METHODS,
    OPTIMIZERS,
    QUANTIZATIONS,
    STARTS,
    SWITCHES,
    VARIANTS,
    Variant,
    code_of,
)
from lora_engine.table import tensor_table
from tests import tiny

ENGINE = Path(registry.__file__).parent
FOLDERS = {
    "lora/variants": tuple(VARIANTS),
    "lora/starts": tuple(STARTS),
    "quantization": tuple(QUANTIZATIONS),
    "optimizers": (*OPTIMIZERS, *filter(None, {method.optimizer for method in METHODS.values()})),
}
NEEDED = {
    "lora/variants": {"Kind"},
    "lora/starts": {"start"},
    "quantization": {"WEIGHT", "HOLDS_INPUT", "settings", "dequantized", "states"},
    "optimizers": {"make"},
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_line_has_its_file_and_every_file_its_line(folder: str) -> None:
    files = {file.stem for file in (ENGINE / folder).glob("*.py")} - {"__init__", "base"}
    assert files == set(FOLDERS[folder])
    for name in files:
        assert NEEDED[folder] <= vars(code_of(folder, name)).keys()


def test_the_settings_are_those_of_the_registry() -> None:
    assert get_args(Method) == tuple(METHODS)
    assert get_args(Quantization) == ("none", *QUANTIZATIONS)
    switches = {name for name in LoraConfig.model_fields if "use_" in name}
    assert switches - {"use_rslora"} == SWITCHES.keys()
    with pytest.raises(SettingsError, match="method must be 'lora', 'freeze', 'full' or 'galore'"):
        LoraConfig.parse({"method": "more"})
    for wrong in ("pissa_niter_", "kaiming_2", "lofty"):
        with pytest.raises(
            SettingsError, match=f"init_lora_weights must be kaiming, .*, loftq, but is '{wrong}'"
        ):
            LoraConfig.parse({"init_lora_weights": wrong})


def test_no_variant_is_named_in_the_layer() -> None:
    """Variants are objects beside the layer, not branches inside it."""
    source = inspect.getsource(LoRALayer).lower()
    assert not [name for name in VARIANTS if name in source]


def test_variants_save_what_the_registry_says() -> None:
    for name, variant in VARIANTS.items():
        assert tuple(code_of("lora/variants", name).Kind.saved_as) == variant.vectors


class Doubling:
    """Adds what the pair gives, times a number an output of its own."""

    saved_as: ClassVar = {"lora_twice": "lora_twice"}

    def add_parameters(self, layer: LoRALayer) -> None:
        layer.lora_twice = nn.Parameter(torch.full((len(layer.stored()),), 2.0))

    def combine(self, layer: LoRALayer, x: Tensor, out: Tensor) -> Tensor:
        return out + layer.lora_twice * layer.low_rank(x)

    def merged_weight(self, layer: LoRALayer, weight: Tensor) -> Tensor:
        return weight + layer.lora_twice[:, None] * layer.low_rank.delta_weight()

    def unmerged_weight(self, layer: LoRALayer, weight: Tensor) -> Tensor:
        return weight - layer.lora_twice[:, None] * layer.low_rank.delta_weight()

    def forget(self) -> None:
        """Nothing is kept."""


class File:
    """Stands for lora/variants/doubling.py."""

    Kind = Doubling


def test_a_new_variant_needs_a_file_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is injected, counted, listed, trained and merged."""
    monkeypatch.setitem(VARIANTS, "doubling", Variant(vectors=("lora_twice",)))
    monkeypatch.setitem(sys.modules, "lora_engine.lora.variants.doubling", File)
    monkeypatch.setattr(LoraConfig, "use_doubling", True, raising=False)
    model = tiny.llama()
    profile = profile_model(model, "x")
    lora = LoraConfig(r=4, lora_dropout=0, target_modules=("q_proj",))
    assert lora.variant == "doubling"
    count = count_parameters(profile, lora)
    rows = [row for row in tensor_table(profile, lora) if row.trainable]
    inject(model, lora, profile)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert count.trainable == sum(p.numel() for p in trained) == 2 * (4 * 128 + 64)
    assert sum("lora_twice" in row.name for row in rows) == 2
    config = TrainConfig(base_model="x", dataset="y", lora=lora, learning_rate=0.05)
    optimizer = make_optimizer(model, config)
    ids = torch.arange(20)[None]
    losses = []
    for _ in range(3):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    with torch.no_grad():
        apart = model(ids).logits
        for _, layer in adapted(model):
            layer.merge()
        torch.testing.assert_close(model(ids).logits, apart, atol=1e-5, rtol=0)


EVERYWHERE = """
from lora_engine import registry
registry.VARIANTS["doubling"] = registry.Variant("Doubling", "Helps with nothing.")
registry.SWITCHES["use_doubling"] = registry.VARIANTS["doubling"]
registry.STARTS["ones"] = registry.Start({"ones": "All ones"})
from app.fields import BY_NAME
from app.wording.fields import CHOICES, FIELDS
from lora_engine.__main__ import main
from lora_engine.config import LoraConfig
from lora_engine.errors import SettingsError
assert LoraConfig().variant == "plain"
assert LoraConfig.parse({"use_doubling": True}).variant == "doubling"
assert FIELDS["lora.use_doubling"] == ("Doubling", "Helps with nothing.")
assert BY_NAME["lora.use_doubling"].kind == "switch"
assert LoraConfig.parse({"init_lora_weights": "ones"}).init_lora_weights == "ones"
assert "ones" in BY_NAME["lora.init_lora_weights"].choices
assert CHOICES["lora.init_lora_weights=ones"] == "All ones"
try:
    LoraConfig.parse({"use_doubling": True, "use_dora": True})
except SettingsError as error:
    print(error)
main(["inspect", "--help"])
"""


def test_the_line_is_all_that_settings_page_and_command_line_need() -> None:
    said = subprocess.run(
        [sys.executable, "-c", EVERYWHERE], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("Choose one of DoRA and Doubling.")
    assert "--use-doubling" in said.stdout
