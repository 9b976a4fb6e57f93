"""What an update keeps is counted, and layers are computed twice only where it would not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lora_engine import activations, memory
from lora_engine.activations import kept_bytes
from lora_engine.batches import Example
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.errors import SettingsError
from lora_engine.fast.choice import choose_path
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.loss import LossPath
from lora_engine.model import load_base
from tests import tiny
from tests.engine.runs import Runs
from tests.engine.test_fast import CPU, rows, settings

GB = 10**9


class Computed:
    """A way whose loss is any function."""

    def __init__(self, function: Callable[[], Tensor]) -> None:
        self.loss_sum: Any = lambda _: function()


def counted(function: Callable[[], Tensor], model: nn.Module | None = None) -> int:
    path: Any = Computed(function)
    return kept_bytes(path, model or nn.Identity(), [])


def test_every_tensor_that_is_kept_counts_once() -> None:
    x = torch.randn(100, requires_grad=True)
    assert counted(lambda: x.sin().sum()) == 400
    assert counted(lambda: (x * x).sum()) == 400
    assert counted(lambda: (x.exp() * 2).sum()) == 400  # the product keeps no tensor
    linear = nn.Linear(100, 5)
    assert counted(lambda: linear(x).sum(), linear) == 400  # its weight is there anyway

    def many() -> Tensor:
        found = x
        for _ in range(50):  # each one's memory is free again before the next is made
            found = found.sin()
        return found.sum()

    assert counted(many) == 50 * 400


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
def test_what_an_8_bit_layer_holds_by_itself_counts(tmp_path: Path) -> None:
    folder = tiny.save_model_folder(tmp_path, tiny.llama(intermediate_size=128))
    x = torch.randn(20, 64, requires_grad=True)
    for kind in ("int8", "nf4"):
        layer = load_base(folder, CPU, torch.float32, kind).get_submodule(
            "model.layers.0.mlp.up_proj"
        )
        expected = 20 * 64 * 4 if kind == "int8" else 0
        assert counted(lambda layer=layer: layer(x).sum(), layer) == expected


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("fast", [False, True])
def test_what_is_counted_is_what_is_held(fast: bool) -> None:
    model, path = prepared(fast)
    held: dict[int, Tensor] = {}
    own = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}

    def hold(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(hold, lambda tensor: tensor):
        loss = path.loss_sum(rows())
    expected = sum(t.untyped_storage().nbytes() for place, t in held.items() if place not in own)
    del loss
    assert kept_bytes(path, model, rows()) == expected > 100_000


@pytest.mark.parametrize("fast", [False, True])
def test_the_quick_bound_is_above_what_is_kept(fast: bool) -> None:
    model, path = prepared(fast)
    batches = [rows()]
    assert activations._at_most(model, batches) > (
        activations.BESIDE * activations.kept_by(path, model, batches)
    )


def prepared(fast: bool) -> tuple[Any, LossPath]:
    model = tiny.llama(num_hidden_layers=3)
    inject(model, LoraConfig(r=4, lora_dropout=0.1), profile_model(model, "x"))
    path = choose_path(model, settings(fast=fast), 0, CPU, longest=300)
    model.train()
    return model, path


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the free memory."""

    def set_free(size: float) -> None:
        monkeypatch.setattr(activations, "free_memory", lambda _: size)

    return set_free


def test_layers_are_computed_twice_where_memory_would_not_do(
    run: Runs, free: Callable[[float], None]
) -> None:
    free(10 * GB)
    usual = run("usual", max_steps=4, lora={"lora_dropout": 0})
    assert usual.metrics["gradient_checkpointing"] is False
    free(0.05 * GB / 1000)
    tight = run("tight", max_steps=4, lora={"lora_dropout": 0})
    assert tight.metrics["gradient_checkpointing"] is True
    (said,) = [r.message for r in run.reports if "computed twice" in r.message]
    assert said.startswith("An update would keep 0.0 GB, and 0.0 are free: layers are computed")
    assert tight.metrics["loss_last"] == pytest.approx(usual.metrics["loss_last"], rel=1e-5)
    asked = run("asked", max_steps=4, lora={"lora_dropout": 0}, gradient_checkpointing=True)
    assert asked.metrics["gradient_checkpointing"] is True
    assert asked.metrics["loss_last"] == tight.metrics["loss_last"]
    never = run("never", max_steps=4, lora={"lora_dropout": 0}, gradient_checkpointing=False)
    assert never.metrics["gradient_checkpointing"] is False
    assert never.metrics["loss_last"] == usual.metrics["loss_last"]


def test_it_is_measured_only_where_it_may_be_tight(
    run: Runs, free: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    real = activations.kept_by

    def kept_by(*arguments: Any) -> int:
        measured.append(real(*arguments))
        return measured[-1]

    monkeypatch.setattr(activations, "kept_by", kept_by)
    free(10 * GB)
    run("roomy", max_steps=1)
    assert not measured
    free(1)
    run("tight", max_steps=1)
    (kept,) = measured
    trained = 4 * run("again", max_steps=1).metrics["trainable"]
    for times, expected in ((0.99, True), (1.01, False)):
        free(times * activations.BESIDE * kept + 3 * trained)
        result = run("near", max_steps=1)
        assert result.metrics["gradient_checkpointing"] is expected
    assert len(set(measured)) == 1 and len(measured) == 4


def test_rows_are_taken_as_long_as_the_longest(run: Runs) -> None:
    work = run.work()
    config = run.config(batch_size=3)

    class Path:
        def batches(self, examples: list[Example]) -> list[list[Example]]:
            return [examples[:2], examples[2:]]

    path: Any = Path()
    seen = activations.batches_at_once(path, config, work)
    assert [len(batch) for batch in seen] == [2]
    for row in seen[0]:
        assert len(row["input_ids"]) == len(row["labels"]) == work.longest


def test_a_model_that_cannot_compute_its_layers_twice_says_so(
    run: Runs, free: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tiny.llama()), "supports_gradient_checkpointing", False)
    with pytest.raises(SettingsError, match="LlamaForCausalLM cannot compute its layers twice"):
        run("asked", gradient_checkpointing="on")
    free(1)
    assert run("auto", max_steps=1).metrics["gradient_checkpointing"] is False


def test_true_and_false_are_on_and_off() -> None:
    for given, kept in ((True, "on"), (False, "off"), ("auto", "auto"), ("on", "on")):
        config = TrainConfig.parse(
            {"base_model": "m", "dataset": "d", "gradient_checkpointing": given}
        )
        assert config.gradient_checkpointing == kept == config.to_json()["gradient_checkpointing"]
    with pytest.raises(SettingsError, match="must be 'auto', 'on' or 'off', but is 'maybe'"):
        TrainConfig.parse({"base_model": "m", "dataset": "d", "gradient_checkpointing": "maybe"})


def test_a_container_may_have_less_than_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    whole = memory.free_memory(CPU)
    assert whole > 0
    files = {"memory.max": "3000000", "memory.current": "2500000", "memory.stat": "anon 1\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert memory.free_memory(CPU) == 500_000
    (tmp_path / "memory.stat").write_text("anon 1\nactive_file 9\ninactive_file 40\n")
    assert memory.free_memory(CPU) == 500_040
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory(CPU) > 500_040
