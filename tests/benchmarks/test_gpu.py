"""The GPU benchmark with a tiny shape: it runs where there is no card, and learns the same."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu
from tests import tiny

TINY = {
    "model_type": "llama",
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}


def test_both_sides_run_on_an_nf4_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gpu.SHAPES, "1b", ("Tiny", TINY))
    monkeypatch.setattr(gpu, "PRECISIONS", {"nf4": ("nf4+liger", "nf4")})
    words = tiny.save_model_folder(tmp_path / "words")
    rows = [{"instruction": f"say {n}", "input": "", "output": f"it is {n}"} for n in range(16)]
    (tmp_path / "alpaca_en_demo.json").write_text(json.dumps(rows))
    gpu.main(
        [
            *("--runs", "1", "--shapes", "1b", "--updates", "3", "--data", str(tmp_path)),
            *("--words", str(words), "--results", str(tmp_path)),
        ]
    )
    written = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    assert [bar["unit"].split()[0] for bar in written["bars"]] == ["tokens/s", "MB", "of", "of"]
    assert {bar["work"] for bar in written["bars"]} == {"Tiny shape, NF4"}
    assert written["bars"][-1]["reached"], written["bars"][-1]
    said = capsys.readouterr().out
    assert "cannot do nf4+liger" in said, "what cannot run is left out and named"
    (details,) = written["details"].values()
    assert details["layers"] == 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128)
    assert 0 < details["learned"] < details["tokens"]


def test_the_shapes_are_those_of_their_models() -> None:
    for key, weights in (("1b", 1_235_814_400), ("7b", 7_615_616_512)):
        shape = gpu.SHAPES[key][1]
        assert _parameters(shape) == weights


def _parameters(shape: dict[str, object]) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape))
    return int(model.num_parameters())
