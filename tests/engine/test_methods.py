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
from lora_engine.lora.layers import LoRALayer
from lora_engine.lora.paths import LowRank
from lora_engine.lora.starts import start_of
from lora_engine.lora.starts.loftq import start_from_what_was_lost
from lora_engine.lora.variants import variant_of
from lora_engine.loss import PaddedPath, mean_loss
from lora_engine.model import load_base
from lora_engine.noise import add_embedding_noise
from lora_engine.optimizer import make_optimizer
from lora_engine.optimizers.galore import GaLoreAdamW
from lora_engine.quantization import base_memory_mb, dequantized
from tests import tiny
from tests.engine.adapters import make
from tests.engine.test_train import Runs

CPU = torch.device("cpu")
bitsandbytes = pytest.importorskip("bitsandbytes")


@pytest.fixture
def run(model_folder: Path, data_file: Path, home: Path, tmp_path: Path) -> Runs:
    return Runs(model_folder, data_file, home, tmp_path)


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
        ({"quantization": "nf4", "lora": {"use_dora": True}}, "not quantised"),
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


def test_noise_is_of_the_papers_size_and_in_training_only() -> None:
    model = tiny.llama()
    ids = torch.arange(32)[None]
    clean = model.get_input_embeddings()(ids)
    add_embedding_noise(model, 5.0)
    assert torch.equal(model.get_input_embeddings()(ids), clean)
    model.train()
    noise = (model.get_input_embeddings()(ids) - clean).detach()
    size = 5 / (32 * 64) ** 0.5
    assert noise.abs().max() <= size * 1.001
    assert noise.std() == pytest.approx(size / 3**0.5, rel=0.1)


def test_both_sides_of_an_encoder_decoder_get_noise() -> None:
    model = tiny.t5()
    ids = torch.arange(9)[None]
    inputs = {"input_ids": ids, "decoder_input_ids": ids}
    clean = model(**inputs)
    add_embedding_noise(model, 5.0)
    assert torch.equal(model(**inputs).logits, clean.logits)
    model.train()  # without dropout
    noisy = model(**inputs)
    assert not torch.equal(noisy.encoder_last_hidden_state, clean.encoder_last_hidden_state)
    again = model(encoder_outputs=(clean.encoder_last_hidden_state,), decoder_input_ids=ids)
    assert not torch.equal(again.logits, clean.logits)


def test_a_small_change_of_doras_magnitude_outlives_bf16() -> None:
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"one": torch.nn.Linear(64, 64, bias=False)}).bfloat16()
    layer = LoRALayer(
        model["one"], LowRank(model["one"], 4, 1.0, 0.0), variant_of(LoraConfig(use_dora=True)),
        start_of("kaiming"),
    )  # fmt: skip
    x = torch.randn(512, 64).bfloat16()
    base = model["one"](x).float()
    with torch.no_grad():
        layer.lora_magnitude_vector *= 1.006
        change = layer(x).float() - base
        share = float((change * base).sum() / base.square().sum())
    assert share == pytest.approx(0.006, rel=0.1)  # and not 0.0078


def test_pissa_leaves_an_embedding_to_its_usual_start(tmp_path: Path) -> None:
    settings = {"init_lora_weights": "pissa", "target_modules": ["embed_tokens", "q_proj"]}
    lora = LoraConfig.parse({"r": 4, "lora_dropout": 0, **settings})
    model = tiny.untied()
    ids = torch.arange(9)[None]
    expected = model(ids).logits
    inject(model, lora, profile_model(tiny.untied(), "x"))
    torch.testing.assert_close(model(ids).logits, expected, atol=1e-4, rtol=0)
    trained = tiny.untied()
    path = make(tmp_path / "a", trained, **settings)
    again = tiny.untied()
    adapter.attach(again, adapter.read(path))
    torch.testing.assert_close(again(ids).logits, trained(ids).logits, atol=1e-4, rtol=0)
    assert (again(ids).logits - expected).abs().max() > 0.01


def test_galores_state_is_not_rounded_to_the_weights_format() -> None:
    torch.manual_seed(0)
    first = torch.nn.Parameter(torch.randn(32, 48).bfloat16())
    second = torch.nn.Parameter(first.detach().clone())

    def step(weight: torch.nn.Parameter, optimizer: GaLoreAdamW) -> None:
        weight.grad = torch.sin(torch.arange(weight.numel())).view_as(weight).bfloat16()
        optimizer.step()

    one = GaLoreAdamW([first], lr=0.01, rank=4)
    step(first, one)
    second.data.copy_(first)
    two = GaLoreAdamW([second], lr=0.01, rank=4)
    two.load_state_dict(one.state_dict())
    for weight, optimizer in ((first, one), (second, two)):
        step(weight, optimizer)
    assert torch.equal(first, second)
    assert two.state[second]["basis"].dtype == torch.float32


def test_label_smoothing_is_the_fields_definition() -> None:
    model = tiny.llama()
    ids = torch.arange(20).tolist()
    path = PaddedPath(model, 0, 1, CPU, label_smoothing=0.2)
    rows = [{"input_ids": ids, "labels": ids}]
    plain = path.loss_sum(rows)
    model.train()
    smooth = path.loss_sum(rows)
    log_p = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    uniform = -log_p.mean(-1).sum()
    torch.testing.assert_close(smooth, 0.8 * plain + 0.2 * uniform)


def test_galore_keeps_less_than_adamw_and_falls_as_a_low_rank_step() -> None:
    torch.manual_seed(0)
    sizes = {}
    for build in (
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: GaLoreAdamW(p, lr=0.01, rank=4, update_gap=3),
    ):
        weight = torch.nn.Parameter(torch.randn(64, 96))
        bias = torch.nn.Parameter(torch.zeros(64))
        x, y = torch.randn(50, 96), torch.randn(50, 64)
        optimizer = build([weight, bias])
        before = weight.detach().clone()
        losses = []
        for step in range(12):
            loss = (x @ weight.T + bias - y).pow(2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if step == 2 and isinstance(optimizer, GaLoreAdamW):
                assert torch.linalg.matrix_rank(weight.detach() - before, atol=1e-5) == 4
        assert losses[-1] < losses[0]
        sizes[type(optimizer).__name__] = sum(
            value.numel()
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, torch.Tensor)
        )
    assert sizes["GaLoreAdamW"] < 0.25 * sizes["AdamW"]


def test_8_bit_adamw_keeps_a_quarter_and_word_vectors_whole() -> None:
    kept = {}
    for optim in ("adamw", "adamw_8bit"):
        model = tiny.llama()
        config = TrainConfig.parse(
            {"base_model": "m", "dataset": "d", "optim": optim, "lora": {"method": "full"}}
        )
        inject(model, config.lora, profile_model(model, "x"))
        optimizer = make_optimizer(model, config)
        ids = torch.arange(40)[None]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        weight = model.get_submodule("model.layers.0.mlp.up_proj").weight
        words = model.get_input_embeddings().weight
        kept[optim] = [
            sum(
                value.numel() * value.element_size()
                for name, value in optimizer.state[tensor].items()
                # the table of 256 values is one for all tensors
                if isinstance(value, torch.Tensor) and "qmap" not in name
            )
            for tensor in (weight, words)
        ]
    (plain, plain_words), (small, small_words) = kept.values()
    assert 0.25 * plain < small < 0.27 * plain
    assert small_words == pytest.approx(plain_words, abs=8)  # AdamW's count of steps is a tensor


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
