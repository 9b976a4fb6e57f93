"""The real starter: a few steps on the sample data change its answers, here and elsewhere."""

import zipfile
from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_engine.compare import compare
from lora_engine.config import TrainConfig
from lora_engine.data import Library
from lora_engine.generate import Decoding
from lora_engine.train import train
from tests.conftest import STARTER

PROMPT = "How do I make a cup of tea?"


@pytest.mark.starter
def test_trains_and_answers_as_the_reference_does(starter_home: Path, tmp_path: Path) -> None:
    dataset = Library(starter_home).add_sample_set()
    config = TrainConfig.parse(
        {
            "base_model": STARTER,
            "dataset": dataset.dataset_id,
            "max_steps": 8,
            "learning_rate": 2e-3,
            "validation_share": 0.05,
            "lora": {"r": 8, "target_modules": ["q_proj", "v_proj"]},
        }
    )
    result = train(config, tmp_path, lambda _: None, lambda: False, home=starter_home)
    metrics = result.metrics
    assert metrics["trainable"] == 460_800
    assert metrics["total"] == 134_975_808
    assert metrics["eval_loss_after"] < metrics["eval_loss_before"] - 0.3

    assert result.adapter is not None
    decoding = Decoding(max_new_tokens=24)
    answers = compare(result.adapter, PROMPT, decoding, home=starter_home)
    assert answers["base"] != answers["adapted"]
    assert answers["divergence"] > 0.01

    with zipfile.ZipFile(result.adapter) as zipped:
        zipped.extractall(tmp_path / "elsewhere")
    base = starter_home / "models" / STARTER
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    model = AutoModelForCausalLM.from_pretrained(base)
    theirs = peft.PeftModel.from_pretrained(model, tmp_path / "elsewhere").eval()
    with torch.no_grad():
        out = theirs.generate(**prompt, max_new_tokens=24, do_sample=False)
    text = tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert text == answers["adapted"]
