"""What a run needs in memory, against what torch's tensors take."""

from typing import Any

import pytest
import torch

from lora_engine.config import TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.model import load_base
from lora_engine.needs import memory_needed
from lora_engine.optimizer import make_optimizer
from lora_engine.starters import shipped_profile
from tests import tiny


def needs(asked: dict[str, Any], profile: Any, fast_bf16: bool = False) -> int:
    config = TrainConfig.parse({"base_model": "m", "dataset": "d", **asked})
    trained = count_parameters(profile, config.lora).trainable
    return memory_needed(profile, trained, config, fast_bf16=fast_bf16)


@pytest.mark.parametrize(
    "asked",
    [
        {"precision": "fp32"},
        {"precision": "bf16"},
        {"precision": "fp32", "lora": {"method": "full"}},
        {"precision": "bf16", "lora": {"method": "freeze", "freeze_trainable_layers": 1}},
    ],
    ids=str,
)
def test_it_is_what_weights_gradients_and_moments_take(asked: dict[str, Any]) -> None:
    config = TrainConfig.parse({"base_model": "m", "dataset": "d", **asked})
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    model = tiny.llama().to(dtype)
    profile = profile_model(model, "m")
    inject(model, config.lora, profile)
    optimizer = make_optimizer(model, config)
    ids = torch.arange(9)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    parameters = list(model.parameters())
    moments = [value for state in optimizer.state.values() for value in state.values()]
    held = [*parameters, *(p.grad for p in parameters if p.grad is not None), *moments]
    taken = sum(t.nbytes for t in held if t.dim())  # AdamW's count of steps is a tensor
    assert needs(asked, profile) == taken


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_quantised_base_takes_what_is_said(kind: Any, tmp_path: Any) -> None:
    pytest.importorskip("bitsandbytes")
    from lora_engine.quantization import base_memory_mb

    model = tiny.llama(hidden_size=256, intermediate_size=512, num_hidden_layers=4)
    folder = tiny.save_model_folder(tmp_path, model)
    quantised = load_base(folder, torch.device("cpu"), torch.bfloat16, kind)
    profile = profile_model(
        tiny.llama(hidden_size=256, intermediate_size=512, num_hidden_layers=4), "m"
    )
    asked = {"precision": "bf16", "quantization": kind, "lora": {"r": 1}}
    pairs = (
        16
        * count_parameters(
            profile, TrainConfig.parse(asked | {"base_model": "m", "dataset": "d"}).lora
        ).trainable
    )
    assert needs(asked, profile) - pairs == pytest.approx(1e6 * base_memory_mb(quantised), rel=0.03)


def test_auto_takes_the_machines_format_and_the_optimiser_counts() -> None:
    profile = shipped_profile("smollm2-135m-instruct")
    assert needs({}, profile, fast_bf16=True) == 2 * 134_515_008 + 16 * 460_800
    assert needs({}, profile) == 4 * 134_515_008 + 16 * 460_800
    full = {"lora": {"method": "full"}}
    assert needs(full, profile, fast_bf16=True) == 16 * 134_515_008, "trained weights stay float32"
    assert needs(full | {"optim": "adamw_8bit"}, profile) == 10 * 134_515_008
    assert needs({"lora": {"method": "galore"}}, profile) == 8 * 134_515_008
