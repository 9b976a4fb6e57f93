"""The generation benchmark with a tiny model: it runs, and says what it should."""

import json
from pathlib import Path

import pytest

from benchmarks import generation
from tests import tiny


def test_table_and_file_have_three_lines_a_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.save_model_folder(tmp_path / "model")
    arguments = ["--model", str(model), "--tokens", "3", "--runs", "2"]
    generation.main([*arguments, "--results", str(tmp_path)])
    table = capsys.readouterr().out
    written = json.loads((tmp_path / "generation.json").read_text("utf-8"))
    works = [bar["work"] for bar in written["bars"]]
    assert len(works) == 6
    for place, name in enumerate(generation.TARGETS):
        both, five, first = works[3 * place : 3 * place + 3]
        assert both == f"base and adapted, 3 tokens each, against one answer, {name}"
        assert five.startswith("base and 4 adapters")
        assert first.startswith("first token")
        assert len(written["details"][name]["five"]) == 2
    assert all(f"| {work} |" in table for work in works)
