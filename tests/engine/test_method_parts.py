"""Parts of methods, each by its definition: noise, smoothed labels, magnitudes, starts."""

from pathlib import Path

import pytest
import torch

from lora_engine import adapter
from lora_engine.config import LoraConfig
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.lora.layers import LoRALayer
from lora_engine.lora.paths import LowRank
from lora_engine.lora.starts import start_of
from lora_engine.lora.variants import variant_of
from lora_engine.loss import PaddedPath
from lora_engine.noise import add_embedding_noise
from tests import tiny
from tests.engine.adapters import make

CPU = torch.device("cpu")


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
