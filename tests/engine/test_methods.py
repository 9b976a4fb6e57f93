"""Methods and options of training beyond plain LoRA."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_engine import adapter, extras
from lora_engine.__main__ import main
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.errors import SettingsError
from lora_engine.inspection import build_profile, profile_model
from lora_engine.lora.inject import adapted, inject
from lora_engine.lora.starts.loftq import start_from_what_was_lost
from lora_engine.loss import PaddedPath, mean_loss
from lora_engine.model import load_base
from lora_engine.quantization import base_memory_mb, dequantized
from tests import tiny
from tests.engine.runs import Runs

CPU = torch.device("cpu")
bitsandbytes = pytest.importorskip("bitsandbytes")


METHODS: dict[str, dict[str, Any]] = {
    "dora": {"lora": {"use_dora": True}},
    "rslora": {"lora": {"use_rslora": True}},
    "lora plus": {"lora": {"loraplus_lr_ratio": 8}, "learning_rate": 0.005},
    "pissa": {"lora": {"init_lora_weights": "pissa"}},
    "orthogonal": {"lora": {"init_lora_weights": "orthogonal"}},
    "saved head": {"lora": {"modules_to_save": ["embed_tokens"]}},
    "freeze": {"lora": {"method": "freeze", "freeze_trainable_layers": 1}},
    "full": {"lora": {"method": "full"}},
    "galore": {"lora": {"method": "galore", "r": 4}, "learning_rate": 0.02},
    "full, 8-bit AdamW": {"lora": {"method": "full"}, "optim": "adamw_8bit"},
    "lora, 8-bit AdamW": {"lora": {"target_modules": "all-linear"}, "optim": "adamw_8bit"},
    "neftune": {"neftune_noise_alpha": 5},
    "label smoothing": {"label_smoothing": 0.1},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "nf4": {"quantization": "nf4"},
    "int8": {"quantization": "int8"},
    "dora, nf4": {"quantization": "nf4", "lora": {"use_dora": True}},
    "loftq": {"quantization": "nf4", "lora": {"init_lora_weights": "loftq"}},
}


@pytest.mark.parametrize("changes", METHODS.values(), ids=METHODS)
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
def test_every_method_learns_and_its_files_give_the_trained_model(
    run: Runs, model_folder: Path, changes: dict[str, Any]
) -> None:
    result = run("out", **changes)
    metrics = result.metrics
    assert metrics["loss_last"] < metrics["loss_first"] - 0.1
    profile = build_profile(model_folder, "tiny")
    count = count_parameters(profile, LoraConfig.parse(changes.get("lora", {})))
    assert metrics["trainable"] == count.trainable
    read = adapter.read(run.tmp_path / "out" / "adapter.zip")
    again = load_base(model_folder, CPU, torch.float32, changes.get("quantization", "none"))
    adapter.attach(again, read)
    found = mean_loss(PaddedPath(again.eval(), 0, 8, CPU), run.work().validation.in_order())
    assert found == pytest.approx(metrics["eval_loss_after"], rel=1e-3)


@pytest.mark.parametrize(
    "changes",
    [METHODS[name] for name in ("pissa", "galore", "dora", "full, 8-bit AdamW")],
)
def test_resumed_ends_where_an_uninterrupted_run_ends(run: Runs, changes: dict[str, Any]) -> None:
    run("whole", **changes)
    run("parts", stop_at=5, **changes)
    run("parts", resume=True, **changes)
    name = "changed_weights" if changes["lora"].get("method") else "adapter_model"
    whole, parts = (
        load_file(run.tmp_path / out / "adapter" / f"{name}.safetensors")
        for out in ("whole", "parts")
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lora": {"init_lora_weights": "loftq"}}, "needs a quantised base"),
        ({"quantization": "nf4", "lora": {"method": "full"}}, "cannot be trained"),
        ({"optim": "adamw_8bit", "lora": {"method": "galore"}}, "an optimiser of its own"),
        ({"optim": "sgd"}, "optim must be 'adamw' or 'adamw_8bit'"),
        ({"quantization": "nf4", "lora": {"init_lora_weights": "pissa"}}, "not quantised"),
        (
            {"quantization": "nf4", "lora": {"use_dora": True, "init_lora_weights": "loftq"}},
            "use it with the kaiming start",
        ),
        ({"lora": {"method": "freeze", "freeze_trainable_layers": 3}}, "has 2 layers"),
        ({"lora": {"init_lora_weights": "orthogonal", "r": 3}}, "even r"),
        ({"lora": {"target_modules": "q("}}, "regular expression"),
        ({"lora": {"target_modules": ".*nothing"}}, "choose no module"),
        ({"lora": {"layers_to_transform": [7]}}, "choose no module"),
        ({"lora": {"modules_to_save": ["pooler"]}}, "no module named 'pooler'"),
        ({"lora": {"init_lora_weights": "magic"}}, "init_lora_weights"),
    ],
)
def test_contradictions_are_one_sentence(run: Runs, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as refusal:
        run("out", **changes)
    assert "\n" not in str(refusal.value)


def test_freeze_trains_the_last_layers_only() -> None:
    model = tiny.llama()
    inject(model, LoraConfig(method="freeze", freeze_trainable_layers=1), profile_model(model, "x"))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith("model.layers.1.") for name in trained)


def test_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny.llama()
        lora = LoraConfig(lora_dropout=0, target_modules=("q_proj", "up_proj"))
        torch.manual_seed(0)
        inject(model, lora, profile_model(model, "x"))
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        ids = torch.arange(40)[None]
        model.train()
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        gradients.append([t.grad for t in adapter.trained_tensors(model).values()])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
def test_quantised_base(kind: Any, tmp_path: Path) -> None:
    folder = tiny.save_model_folder(
        tmp_path, tiny.llama(hidden_size=256, intermediate_size=512, num_hidden_layers=4)
    )
    plain = load_base(folder, CPU, torch.float32)
    quantised = load_base(folder, CPU, torch.float32, kind)
    layers = [m for m in quantised.modules() if "Linear" in type(m).__name__]
    assert {type(m).__name__ for m in layers} == {
        "Linear",  # the head stays as it is
        {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[kind],
    }
    path = "model.layers.0.mlp.up_proj"
    weight, kept = plain.get_submodule(path).weight, dequantized(quantised.get_submodule(path))
    error = float((weight - kept).norm() / weight.norm())
    assert 0 < error < {"nf4": 0.12, "int8": 0.02}[kind]
    linear = sum(m.weight.numel() for m in plain.modules() if isinstance(m, torch.nn.Linear))
    linear -= plain.lm_head.weight.numel()
    saved = base_memory_mb(plain) - base_memory_mb(quantised)
    assert saved > {"nf4": 3.4, "int8": 2.9}[kind] * linear / 1e6  # of 4 bytes a weight

    lora = LoraConfig(r=16, lora_dropout=0, target_modules="all-linear", init_lora_weights="loftq")
    inject(quantised, lora, build_profile(folder, "x"))
    lost, left = start_from_what_was_lost(quantised, plain)
    assert left < lost
    assert sum(1 for _ in adapted(quantised)) == 28


@pytest.mark.parametrize(("kind", "most"), [("nf4", 0.35), ("int8", 0.55)])
def test_memory_of_a_quantised_base_beside_bf16(kind: Any, most: float, tmp_path: Path) -> None:
    """Measured with the scales that quantisation keeps; the embedding, 1.4 % here, stays."""
    model = tiny.llama(hidden_size=512, intermediate_size=1408, num_hidden_layers=4)
    folder = tiny.save_model_folder(tmp_path, model)
    plain = base_memory_mb(load_base(folder, CPU, torch.bfloat16))
    weights = sum(p.numel() for p in model.parameters())
    assert plain == pytest.approx(2 * weights / 1e6, rel=1e-3)
    quantised = load_base(folder, CPU, torch.bfloat16, kind)
    found = base_memory_mb(quantised)
    assert found / plain < most
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    linear -= model.lm_head.weight.numel()
    # NF4: 4 bits, an 8-bit scale a block of 64, a 32-bit one for 256 of those; int8: one a row
    bits = {"nf4": 4 + 8 / 64 + 32 / (64 * 256), "int8": 8 + 32 / 512}[kind]
    assert found == pytest.approx((linear * bits / 8 + 2 * (weights - linear)) / 1e6, rel=0.01)


def test_what_quantisation_lost_of_gpt2_is_found_too(tmp_path: Path) -> None:
    """Its own layers hold their weights the other way round."""
    folder = tiny.save_model_folder(tmp_path, tiny.gpt2())
    plain, quantised = (load_base(folder, CPU, torch.float32, kind) for kind in ("none", "nf4"))
    lora = LoraConfig(r=16, target_modules="all-linear", init_lora_weights="loftq")
    inject(quantised, lora, build_profile(folder, "x"))
    lost, left = start_from_what_was_lost(quantised, plain)
    assert 0 < left < lost < 0.12


def test_a_model_of_which_nothing_can_be_quantised_is_one_sentence(tmp_path: Path) -> None:
    folder = tiny.save_model_folder(tmp_path, tiny.llama(hidden_size=48))
    with pytest.raises(SettingsError, match="No layer of this model can be held in few bits"):
        load_base(folder, CPU, torch.float32, "nf4")


def test_quantised_bases_need_their_package(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    for field, value in (("quantization", "nf4"), ("optim", "adamw_8bit")):
        with pytest.raises(
            SettingsError, match=r"-m pip install .* bitsandbytes`, or choose "
        ) as refusal:
            run("out", **{field: value})
        assert refusal.value.field == field


def test_loftq_says_what_quantisation_lost_and_what_is_left(
    run: Runs, capsys: pytest.CaptureFixture[str], model_folder: Path, data_file: Path, home: Path
) -> None:
    config = {
        "base_model": str(model_folder), "dataset": str(data_file), "max_steps": 1,
        "lora": {"init_lora_weights": "loftq", "r": 16},
    }  # fmt: skip
    (run.tmp_path / "c.json").write_text(json.dumps(config))
    command = ["train", str(run.tmp_path / "c.json"), "--out", str(run.tmp_path / "out")]
    assert main([*command, "--data-dir", str(home)]) == 1
    assert "needs a quantised base" in capsys.readouterr().err
    assert main([*command, "--data-dir", str(home), "--use-4bit"]) == 0
    said = capsys.readouterr().out
    sentence = r"Quantisation changed the weights by (\S+)%; LoftQ leaves (\S+)%"
    found = re.search(sentence, said)
    assert found
    lost, left = map(float, found.groups())
    assert 0 < left < lost < 15
    assert json.loads((run.tmp_path / "out" / "adapter" / "metrics.json").read_text())["start"]


def test_settings_survive_json() -> None:
    config = TrainConfig.parse(
        {
            "base_model": "x",
            "dataset": "y",
            "quantization": "nf4",
            "lora": {"rank_pattern": {"q_proj": 4}, "layers_to_transform": [0, 1]},
        }
    )
    assert TrainConfig.parse(config.to_json()) == config
