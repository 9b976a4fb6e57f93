"""What is made of finished adapters, with tiny real ones: brought in, measured, cut, added up."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app import bringing, making
from app.after_view import ranks_html
from app.services import Services
from jobs import tools
from jobs.job import Job, JobStatus
from jobs.tools import ToolError
from lora_engine.adapter_config import read_settings
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.errors import AdapterError, SettingsError
from tests import tiny
from tests.engine.adapters import make


def quiet(_: str) -> None: ...


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    opened = Services.open(tmp_path_factory.mktemp("made") / "home")
    yield opened
    opened.close()
    opened.store.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model_folder(tmp_path_factory.mktemp("base") / "model", tiny.llama())


@pytest.fixture(scope="module")
def brought(services: Services, base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    folder = tmp_path_factory.mktemp("adapters")
    return [
        bringing.bring_in(
            services, make(folder / f"a{seed}", tiny.llama(), str(base), seed=seed), "", quiet
        )
        for seed in (1, 2)
    ]


def test_a_folder_from_elsewhere_stands_in_the_list(services: Services, brought: list[Job]) -> None:
    job = services.store.get(brought[0].id)
    assert job.status is JobStatus.succeeded
    assert job.metrics is not None
    assert "brought in" in job.metrics["origin"]
    path = services.store.adapter_zip(job.id)
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        assert "adapter_model.safetensors" in archive.namelist()
    assert [each.id for each in making.others(services, job)] == [brought[1].id]


def test_every_tensor_that_does_not_fit_is_named(
    services: Services, base: Path, tmp_path: Path
) -> None:
    wrong = make(tmp_path / "wrong", tiny.llama(), str(base))
    file = wrong / "adapter_model.safetensors"
    tensors = load_file(file)
    names = sorted(tensors)
    tensors[names[0]] = torch.zeros(3, 3)
    missing = names[1]
    del tensors[missing]
    save_file(tensors, file)
    with pytest.raises(ToolError) as refused:
        bringing.bring_in(services, wrong, "", quiet)
    for name in (names[0], missing):
        assert name.removeprefix("base_model.model.") in str(refused.value)
    with pytest.raises(AdapterError, match="no adapter at"):
        bringing.bring_in(services, tmp_path / "nowhere", "", quiet)


def test_a_trainers_folder_is_brought_without_its_pickles(
    services: Services, base: Path, tmp_path: Path
) -> None:
    folder = make(tmp_path / "checkpoint-9", tiny.llama(), str(base))
    for name in ("optimizer.pt", "training_args.bin", "rng_state.pth", "README.md"):
        (folder / name).write_bytes(b"x")
    job = bringing.bring_in(services, folder, "", quiet)
    path = services.store.adapter_zip(job.id)
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    assert names == {"adapter_config.json", "adapter_model.safetensors", "README.md"}


def test_how_the_base_was_held_can_be_said(services: Services, base: Path, tmp_path: Path) -> None:
    """PEFT's files do not say it; what is said stays in the zip, until it is said anew."""
    make(tmp_path / "qlora", tiny.llama(), str(base))
    zipped = Path(shutil.make_archive(str(tmp_path / "inside"), "zip", tmp_path, "qlora"))
    for path, held in ((zipped, "nf4"), (tmp_path / "copy.zip", "none")):
        job = bringing.bring_in(services, path, "", quiet, quantization=held)
        assert job.config.quantization == held
        kept = services.store.adapter_zip(job.id)
        assert kept is not None
        assert read_settings(kept).quantization == held
        shutil.copy(kept, tmp_path / "copy.zip")
    runs = len(services.store.list())
    with pytest.raises(SettingsError, match="quantization must be 'none', 'nf4' or 'int8'"):
        bringing.bring_in(services, zipped, "", quiet, quantization="3 bits")
    assert len(services.store.list()) == runs


def test_ranks_are_measured_and_drawn(services: Services, brought: list[Job]) -> None:
    report = making.rank_report(services, brought[0], quiet)
    assert report["r"] == 4
    html = ranks_html(report)
    assert "q_proj" in html
    assert html.count("<li") == len(report["modules"])
    assert html.count('class="spectrum"') == len(report["modules"])
    assert f"Singular values {report['modules'][0]['singular_values'][0]:.3g}, " in html
    assert report["sentence"] in html
    cut = ranks_html(report | {"rank_90": 2})
    assert "Rank 2 would hold 90 %" in cut
    assert "would hold" not in ranks_html(report | {"rank_90": report["r"]})


def test_shrinking_and_adding_up_make_new_lines(services: Services, brought: list[Job]) -> None:
    smaller, _ = making.shrink(services, brought[0], 2, quiet)
    assert smaller.config.lora.r == 2
    assert making.rank_report(services, smaller, quiet)["r"] == 2
    cut, found = making.combine(services, brought, [0.5, -1e-5], {"method": "svd", "r": 3}, quiet)
    assert (cut.config.lora.r, found["r"]) == (3, 3)
    both, found = making.combine(services, brought, [0.5, 0.5], {"method": "cat"}, quiet)
    assert found["r"] == 8
    assert both.config.lora.lora_alpha == 8, "the scaling is the file's, so that it can go on"
    assert f"0.5 × “{brought[1].name}” (run {brought[1].id})" in found["sentence"]
    assert services.store.adapter_zip(both.id) is not None
    assert not list(services.home.glob("making-*"))


def test_exports_are_files_to_take_along(services: Services, brought: list[Job]) -> None:
    path, found = making.export(services, brought[0], "merged", quiet)
    assert (path / "model.safetensors").is_file()
    assert found["sentence"]
    again, _ = making.export(services, brought[0], "merged", quiet)
    assert again == path
    shutil.rmtree(path)


@pytest.mark.parametrize("form", making.FORMATS)
def test_an_export_that_fails_spares_the_one_before(
    services: Services, brought: list[Job], tmp_path: Path, form: str
) -> None:
    folder = services.store.job_dir(brought[0].id)
    before = folder / "gguf.zip" if form == "gguf" else folder / "merged" / "model.safetensors"
    before.parent.mkdir(exist_ok=True)
    before.write_bytes(b"whole")
    with tools._turn, pytest.raises(ToolError, match="wait until that is done"):
        making.export(services, brought[0], form, quiet)
    elsewhere = brought[0].config.model_copy(update={"base_model": str(tmp_path / "nowhere")})
    with pytest.raises(ToolError):
        making.export(services, replace(brought[0], config=elsewhere), form, quiet)
    assert before.read_bytes() == b"whole"
    assert not list(folder.glob(".export-*"))
    path, _ = making.export(services, brought[0], form, quiet)
    assert before.read_bytes() != b"whole"
    assert {each.name for each in folder.iterdir()} == {"adapter.zip", path.name}
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_merged_models_size_is_known_before(services: Services, base: Path) -> None:
    size = making.merged_bytes(services.profile(str(base)))
    assert size == pytest.approx((base / "model.safetensors").stat().st_size, rel=0.1)


@pytest.mark.parametrize("r", [0, 4, 5000])
def test_a_bad_rank_is_refused(services: Services, brought: list[Job], r: int) -> None:
    with pytest.raises(SettingsError, match="has rank 4; choose a smaller one, from 1 to 3"):
        making.shrink(services, brought[0], r, quiet)


def test_what_cannot_be_added_up_is_refused(services: Services, brought: list[Job]) -> None:
    other = services.store.add_made(
        TrainConfig(base_model="other", dataset="d", lora=LoraConfig()), "Other",
        _copy(services, brought[0]), {},
    )  # fmt: skip
    for jobs, weights, said in (
        ([brought[0]], [1.0], "2 to 8 runs"),
        ([*brought], [1.0], "one weight"),
        ([brought[0], other], [1.0, 1.0], "one base model"),
    ):
        with pytest.raises(SettingsError, match=said):
            making.combine(services, jobs, weights, {}, quiet)
    dora = services.store.add_made(
        brought[0].config.model_copy(update={"lora": LoraConfig(use_dora=True)}), "With DoRA",
        _copy(services, brought[0]), {},
    )  # fmt: skip
    with pytest.raises(SettingsError, match="“With DoRA”"):
        making.combine(services, [brought[0], dora], [1.0, 1.0], {}, quiet)
    with pytest.raises(SettingsError, match="svd, cat or linear"):
        making.combine(services, brought, [1.0, 1.0], {"method": "sum"}, quiet)
    with pytest.raises(SettingsError, match="gguf or merged"):
        making.export(services, brought[0], "onnx", quiet)


def test_runs_know_in_how_few_bits_their_base_was(base: Path, tmp_path: Path) -> None:
    """What they say or a person says, and what is made of them; the page offers only those of one
    form together."""
    services = Services.open(tmp_path / "home")
    jobs = []
    for seed, (kind, said) in enumerate((("none", "nf4"), ("nf4", ""), ("none", ""))):
        path = make(tmp_path / str(seed), tiny.llama(), str(base), seed=seed)
        own = {"base_model": str(base), "quantization": kind}
        (path / "train_config.json").write_text(json.dumps(own))
        jobs.append(bringing.bring_in(services, path, "", quiet, quantization=said))
    assert [job.config.quantization for job in jobs] == ["nf4", "nf4", "none"]
    for others, held in (([jobs[1]], "nf4"), ([jobs[2]], "none")):
        made, _ = making.combine(services, [jobs[0], *others], [1.0, 1.0], {}, quiet)
        assert services.store.get(made.id).config.quantization == held
    services.close()
    services.store.close()


def _copy(services: Services, job: Job) -> Path:
    path = services.store.adapter_zip(job.id)
    assert path is not None
    return Path(shutil.copy(path, services.home / "copy.zip"))


def test_weights_are_one_for_all_or_one_for_each() -> None:
    assert making.read_weights("0.5", 3) == [0.5, 0.5, 0.5]
    assert making.read_weights(" 0.5, -1;2 ", 3) == [0.5, -1.0, 2.0]
    for wrong in ("", "half", "0.5, 0.3", "1,,"):
        with pytest.raises(SettingsError, match="or 3 numbers") as refusal:
            making.read_weights(wrong, 3)
        assert refusal.value.field == "weights"


def test_a_rank_is_a_whole_number_or_left_out() -> None:
    assert making.read_rank(" ") is None
    assert making.read_rank(" 8 ") == 8
    with pytest.raises(SettingsError, match=r"“8\.5” is no rank"):
        making.read_rank("8.5")
