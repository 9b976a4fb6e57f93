"""The page benchmark with a tiny model and few changes: it runs, and says what it should."""

import json
from pathlib import Path

import pytest

from benchmarks import page
from tests import tiny


def test_table_and_file_have_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.save_model_folder(tmp_path / "model")
    arguments = ["--changes", "4", "--runs", "1", "--starter", str(model)]
    page.main([*arguments, "--results", str(tmp_path)])
    table = capsys.readouterr().out
    written = json.loads((tmp_path / "page.json").read_text("utf-8"))
    names = ["page up", "SmolLM2-135M: p95", "LLaMA-7B shape: p95", "trains on all cores: p95"]
    if written["details"][0]["seen"]:  # there is a browser
        names.append("in the browser")
        assert len(written["details"][0]["seen"]["all"]) == 4
    for bar, name in zip(written["bars"], names, strict=True):
        assert name in bar["work"]
        assert f"| {bar['work']} |" in table
    assert len(written["details"][0]["busy"]["all"]) == 4
    assert written["details"][0]["busy"]["steps"] > 0
