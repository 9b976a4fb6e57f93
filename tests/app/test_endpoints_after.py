"""What is made of finished adapters, by programs: with tiny real ones and a running page."""

import json
import shutil
import urllib.request
import zipfile
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests import tiny
from tests.app.test_endpoints import call
from tests.engine.adapters import make


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model_folder(tmp_path_factory.mktemp("base") / "model", tiny.llama())


@pytest.fixture(scope="module")
def folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters as they lie in folders."""
    folder = tmp_path_factory.mktemp("adapters")
    return [make(folder / f"a{seed}", tiny.llama(), str(base), seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def runs(client: Client, folders: list[Path]) -> list[int]:
    """The same as runs: one came as a path, one as a zip."""
    first = call(client, "/bring_adapter", path=str(folders[0]), name="First")
    assert first["name"] == "First"
    assert "fits" in first["sentence"]
    zipped = shutil.make_archive(str(folders[1]), "zip", folders[1])
    second = call(client, "/bring_adapter", handle_file(zipped))
    assert second["name"] == "a2"
    return [int(first["job_id"]), int(second["job_id"])]


def test_ranks_are_measured(client: Client, runs: list[int]) -> None:
    report = call(client, "/rank_report", runs[0])
    assert report["r"] == len(report["kept"]) == 4
    assert len(report["modules"]) == 4
    assert report["sentence"]


def test_shrinking_and_adding_up_make_new_runs(client: Client, runs: list[int]) -> None:
    smaller = call(client, "/shrink_adapter", runs[0], 2)
    assert smaller["name"] == "First, rank 2"
    assert (smaller["r_before"], smaller["r"]) == (4, 2)
    job = call(client, "/job", smaller["job_id"])
    assert (job["status"], job["config"]["lora"]["r"]) == ("succeeded", 2)
    both = call(client, "/combine_adapters", runs, [0.5, -0.25], r=3)
    assert (both["method"], both["r"]) == ("svd", 3)
    assert both["sentence"].startswith(f"0.5 × “First” (run {runs[0]}) + -0.25")
    with zipfile.ZipFile(call(client, "/download_adapter", both["job_id"])) as archive:
        assert "adapter_model.safetensors" in archive.namelist()


def test_an_export_is_a_file_or_a_folder(client: Client, runs: list[int]) -> None:
    gguf = call(client, "/export_adapter", runs[0], "gguf")
    assert gguf["folder"] is None
    assert Path(gguf["file"]).name == f"gguf-{runs[0]}.zip"
    with zipfile.ZipFile(gguf["file"]) as archive:
        assert archive.read("adapter.gguf")[:4] == b"GGUF"
        assert "Modelfile" in archive.namelist()
    merged = call(client, "/export_adapter", runs[0], format="merged")
    assert merged["file"] is None
    assert (Path(merged["folder"]) / "model.safetensors").is_file()
    assert merged["sentence"]


def test_runs_are_laid_side_by_side(client: Client, runs: list[int]) -> None:
    found = call(client, "/compare_runs", runs[:2])
    assert found["job_ids"] == runs[:2]
    assert found["best"] is None
    assert "held-out rows" in found["sentence"]
    assert all(len(values) == 2 for values in found["settings"].values())
    for wrong, said in (
        (runs[:1], "two to 4 different runs"), ([runs[0], runs[0]], "two to 4 different runs"),
        ([runs[0], 999], "no run 999"), ("1", "must be a list"),
    ):  # fmt: skip
        with pytest.raises(AppError, match=said):
            call(client, "/compare_runs", wrong)


def test_adapters_answer_beside_each_other(client: Client, runs: list[int]) -> None:
    options = {"max_new_tokens": 4, "others": runs[1:], "details": True, "system": "Be calm."}
    found = call(client, "/compare", runs[0], "The sea is", options)
    assert [each["job_id"] for each in found["others"]] == runs[1:]
    assert found["divergences"][0] is None
    assert all(each > 0 for each in found["divergences"][1:])
    assert len(found["cut"]) == 3
    alone = call(client, "/compare", runs[0], "The sea is", {"max_new_tokens": 4})
    assert set(alone) == {"base", "adapted"}


def test_a_run_goes_on_from_an_adapter(client: Client, runs: list[int]) -> None:
    data = call(client, "/add_sample_dataset")["dataset_id"]
    with pytest.raises(AppError, match="There is no data set"):
        call(client, "/continue_training", runs[0])
    job_id = call(
        client,
        "/continue_training",
        runs[0],
        data,
        {"epochs": 1, "lora": {"lora_dropout": 0}},
        "More",
    )
    config = call(client, "/job", job_id)["config"]
    assert (config["dataset"], config["epochs"], config["lora"]["r"]) == (data, 1, 4)
    assert config["lora"]["lora_dropout"] == 0
    assert config["start_from"].endswith("adapter.zip")
    assert config["roles"] == {"prompt": "prompt", "completion": "completion"}
    with pytest.raises(AppError, match="“More”"):
        call(client, "/delete_job", runs[0])
    for endpoint in ("/rank_report", "/continue_training"):
        with pytest.raises(AppError, match="has not ended yet"):
            call(client, endpoint, job_id)
    call(client, "/delete_job", job_id)


@pytest.mark.parametrize(
    ("endpoint", "arguments", "said"),
    [
        ("/shrink_adapter", [4], "choose a smaller one, from 1 to 3"),
        ("/shrink_adapter", [0], "r must be from 1 to 1,024"),
        ("/shrink_adapter", ["two"], "r is a whole number"),
        ("/export_adapter", ["onnx"], "gguf or merged"),
        ("/export_adapter", [5], "format must be text"),
    ],
)
def test_what_one_run_cannot(
    client: Client, runs: list[int], endpoint: str, arguments: list[object], said: str
) -> None:
    with pytest.raises(AppError, match=said):
        call(client, endpoint, runs[0], *arguments)


@pytest.mark.parametrize(
    ("weights", "more", "said"),
    [
        ([1], {}, "one weight for each"),
        (5, {}, "weights must be a list"),
        (["much", 1], {}, "Each of weights must be a number"),
        ([1, 1], {"method": "sum"}, "svd, cat or linear"),
        ([1, 1], {"r": 0}, "r must be at least 1"),
        ([1, 1], {"r": 2, "method": "cat"}, "with svd, and only there"),
    ],
)
def test_sums_that_cannot_be(
    client: Client, runs: list[int], weights: object, more: dict[str, object], said: str
) -> None:
    with pytest.raises(AppError, match=said):
        call(client, "/combine_adapters", runs, weights, **more)


@pytest.mark.parametrize(
    ("job_ids", "said"),
    [
        (7, "must be a list"),
        ([1.5, 2], "A job id is a whole number"),
        ([987654, 2], "There is no run"),
        ([], "2 to 8 runs"),
    ],
)
def test_sums_of_no_runs(client: Client, job_ids: object, said: str) -> None:
    with pytest.raises(AppError, match=said):
        call(client, "/combine_adapters", job_ids, [1, 1])


def test_what_is_no_adapter_is_not_brought(
    client: Client, folders: list[Path], tmp_path: Path, table: Path
) -> None:
    zipped = shutil.make_archive(str(tmp_path / "one"), "zip", folders[0])
    runs = len(call(client, "/list_jobs"))
    for given, said in (
        ({}, "Choose a zip or type a path first"),
        ({"file": handle_file(zipped), "path": str(folders[0])}, "not both"),
        ({"path": str(tmp_path / "nowhere")}, "no adapter at"),
        ({"path": "~nobody-of-this-name/adapter"}, "no adapter at"),
        ({"path": "a" * 300}, "no adapter at"),
        ({"path": "a\0b"}, "null character"),
        ({"path": str(tmp_path)}, "adapter_config.json"),
        ({"path": str(folders[0]), "quantization": "3 bits"}, "'nf4' or 'int8'"),
        ({"file": handle_file(table)}, "numbers.csv"),
    ):
        with pytest.raises(AppError, match=said):
            call(client, "/bring_adapter", **given)
    assert len(call(client, "/list_jobs")) == runs


def test_a_file_that_was_not_uploaded_is_not_taken(
    client: Client, address: str, folders: list[Path], tmp_path: Path
) -> None:
    """Without the client, which would upload it: a file of the server's passes as no upload, and
    is not deleted as one."""
    zipped = shutil.make_archive(str(tmp_path / "servers-own"), "zip", folders[0])
    runs = len(call(client, "/list_jobs"))
    given = {"path": zipped, "meta": {"_type": "gradio.FileData"}}
    door = f"{address}/gradio_api/call/bring_adapter"
    body = json.dumps({"data": [given, "", "", "", ""]}).encode()
    asked = urllib.request.Request(door, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        event_id = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{door}/{event_id}") as answer:
        assert answer.read().startswith(b"event: error")
    assert len(call(client, "/list_jobs")) == runs
    assert Path(zipped).is_file()
