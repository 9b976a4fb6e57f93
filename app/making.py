"""What can be done with finished adapters: ranks, shrinking, adding up, exports.

Each takes progress sentences from a child process of the engine; the page and the programs' door
both come here.
"""

import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from app.comparing import adapter_of
from app.services import Services
from app.wording import after as words
from jobs import tools
from jobs.job import Job
from lora_engine.adapter_config import read_settings
from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError
from lora_engine.profile import ModelProfile

Tell = Callable[[str], None]
Json = dict[str, Any]
MOST_COMBINED = 8
EXPORTS = {"gguf": "gguf.zip", "merged": "merged"}
"""Form → the name of its file or folder in the run's."""
FORMATS = tuple(EXPORTS)
EXPORTING = ".export-"
"""How the folders begin in which an export is made."""
BYTES = {"float16": 2, "bfloat16": 2}
"""Of one number; other formats have 4."""


def run_tool(
    services: Services,
    jobs: Sequence[Job],
    arguments: Sequence[str],
    tell: Tell,
    should_stop: Callable[[], bool] = lambda: False,
) -> Json:
    """Run one command of the engine on these runs' adapters to its end; raises ToolError.

    Only ``predict`` can end early with something, once ``should_stop`` says so.
    """
    result: Json = {}
    with services.working_on(jobs):
        for said in tools.run(services.home, arguments, should_stop=should_stop):
            if isinstance(said, str):
                tell(said)
            else:
                result = said
    return result


def rank_report(services: Services, job: Job, tell: Tell) -> Json:
    """How much of its rank a run's adapter uses (``lora_engine.ranks.RankReport`` as JSON)."""
    return run_tool(services, [job], ["ranks", f"--adapter={adapter_of(services, job)}"], tell)


def shrink(services: Services, job: Job, r: int, tell: Tell) -> tuple[Job, Json]:
    """Cut a run's adapter to rank ``r``; what comes of it stands in the list of runs."""
    adapter = adapter_of(services, job)
    lora = read_settings(adapter).lora
    most = max([lora.r, *lora.rank_pattern.values()])
    if not 1 <= r < most:
        form = words.SHRINK_RANKS if most > 1 else words.SHRINK_RANK_1
        raise SettingsError("r", form.format(r=most, most=most - 1))
    arguments = ["shrink", f"--adapter={adapter}", f"--r={r}"]
    with new_zip(services) as out:
        found = run_tool(services, [job], [*arguments, f"--out={out}"], tell)
        origin = words.ORIGIN_SHRUNK.format(job=job.id, r=r)
        metrics = {**_kept(job), "origin": origin, "sentence": found["sentence"]}
        name = words.SHRUNK_NAME.format(name=job.name, r=r)
        return services.store.add_made(_config_of(job, out), name, out, metrics), found


def combine(
    services: Services, jobs: Sequence[Job], weights: Sequence[float], form: Json, tell: Tell
) -> tuple[Job, Json]:
    """Add runs' adapters up by weight; ``form`` has ``method`` and, for svd, perhaps ``r``."""
    if not 2 <= len(jobs) <= MOST_COMBINED or len(jobs) != len(weights):
        raise SettingsError("job_ids", words.COMBINE_SOME.format(most=MOST_COMBINED))
    bases = {job.config.base_model for job in jobs}
    if len(bases) > 1:
        raise SettingsError("job_ids", words.COMBINE_BASES.format(bases=", ".join(sorted(bases))))
    if mixed := next((job for job in jobs if not can_be_added(job)), None):
        raise SettingsError("job_ids", words.COMBINE_MORE.format(name=mixed.name, job=mixed.id))
    method = str(form.get("method") or "svd")
    if method not in ("svd", "cat", "linear"):
        raise SettingsError("method", f"The method must be svd, cat or linear, not {method!r}.")
    arguments = ["combine", "--adapters", *(str(adapter_of(services, job)) for job in jobs)]
    arguments += ["--weights", *(f"{weight:.12f}" for weight in weights), f"--method={method}"]
    if form.get("r") is not None:
        arguments.append(f"--r={int(form['r'])}")
    with new_zip(services) as out:
        found = run_tool(services, jobs, [*arguments, f"--out={out}"], tell)
        found["sentence"] = _sum_sentence(jobs, weights, found)
        numbers = ", ".join(str(job.id) for job in jobs)
        origin = words.ORIGIN_COMBINED.format(jobs=numbers)
        metrics = {**_kept(jobs[0]), "origin": origin, "sentence": found["sentence"]}
        name = words.COMBINED_NAME.format(jobs=numbers)
        return services.store.add_made(_config_of(jobs[0], out), name, out, metrics), found


def read_weights(text: str, count: int) -> list[float]:
    """``0.5`` for all of ``count`` runs, or one number each as in ``0.5, 0.3``.

    Raises:
        SettingsError: it is neither.
    """
    try:
        found = [float(part) for part in re.split(r"[,;\s]+", text.strip())]
    except ValueError:
        found = []
    if len(found) not in (1, count):
        raise SettingsError("weights", words.COMBINE_WEIGHTS_BAD.format(count=count))
    return found * count if len(found) == 1 else found


def read_rank(text: str) -> int | None:
    """A rank as it was typed; None where there is none. Raises SettingsError."""
    if not text.strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise SettingsError("r", words.COMBINE_R_BAD.format(text=text.strip())) from None


def can_be_added(job: Job) -> bool:
    """Whether a run's adapter holds pairs only, which is what can be added up."""
    lora = job.config.lora
    alone = lora.bias == "none" and not lora.modules_to_save
    has_head = task_of(job) == "classification"
    return lora.method == "lora" and lora.variant == "plain" and alone and not has_head


def can_be_gguf(job: Job) -> bool:
    """Whether llama.cpp may take a run's adapter: pairs alone, of a model that writes on."""
    return can_be_added(job) and task_of(job) != "seq2seq"


def task_of(job: Job) -> str:
    """What a run learned, or, before it has ended, what its settings tell of that."""
    asked = job.config.task
    if asked == "auto" and "label" in (job.config.roles or {}):
        asked = "classification"
    return str((job.metrics or {}).get("task") or asked)


def _sum_sentence(jobs: Sequence[Job], weights: Sequence[float], found: Json) -> str:
    """What was added up, by the runs' names, and how much of it is kept."""
    parts = (
        words.COMBINED_PART.format(weight=f"{weight:g}", name=job.name, job=job.id)
        for job, weight in zip(jobs, weights, strict=True)
    )
    kept = f"{found['energy_kept']:.1%}".replace("%", " %")
    return words.COMBINED.format(sum=" + ".join(parts), r=found["r"], kept=kept)


def _config_of(job: Job, adapter: Path) -> TrainConfig:
    """A run's settings with what an adapter that was made of it says: ranks, scaling, and the
    bits of the base that it is for."""
    own = read_settings(adapter)
    made = {"lora": own.lora, "start_from": None, "quantization": own.quantization}
    return job.config.model_copy(update=made)


def export(services: Services, job: Job, form: str, tell: Tell) -> tuple[Path, Json]:
    """A run's adapter as ``gguf`` (a zip with the Modelfile) or ``merged`` (a model folder).

    Made anew each time; what is there stays until the new one is whole.

    Raises:
        SettingsError: there is no such form; AdapterError: the run has no adapter.
        ToolError: it cannot be made, or another adapter is being worked on.
    """
    if form not in FORMATS:
        raise SettingsError("format", f"The format must be gguf or merged, not {form!r}.")
    adapter = adapter_of(services, job)
    folder = services.store.job_dir(job.id)
    out = folder / EXPORTS[form]
    with (
        services.working_on([job]),
        tempfile.TemporaryDirectory(dir=folder, prefix=EXPORTING) as unfinished,
    ):
        made = Path(unfinished) / form
        arguments = ["export", f"--adapter={adapter}", f"--format={form}", f"--out={made}"]
        arguments.append(f"--base-model={job.config.base_model}")
        found = run_tool(services, [job], arguments, tell)
        if form == "gguf":
            pack([Path(found["file"]), Path(found["modelfile"])], out)
        else:
            if out.exists():
                out.rename(made.with_name("before"))  # it goes with the folder of the unfinished
            made.rename(out)
    return out, found


def forget_exports(services: Services, job_id: int) -> None:
    """Delete what was exported of a run: its adapter is about to be another."""
    for name in EXPORTS.values():
        path = services.store.job_dir(job_id) / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def merged_bytes(profile: ModelProfile) -> int:
    """About how large a merged model's folder will be: the weights as the base keeps them."""
    return sum(tensor.size * BYTES.get(tensor.dtype, 4) for tensor in profile.tensors)


class new_zip:  # noqa: N801 (a context manager)
    """The path of a zip to be made, in a folder that is gone afterwards."""

    def __init__(self, services: Services) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=services.home, prefix="making-")

    def __enter__(self) -> Path:
        return Path(self._folder.__enter__()) / "adapter.zip"

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _kept(job: Job) -> Json:
    """What of a run's metrics also holds for an adapter made of it."""
    return {key: value for key, value in (job.metrics or {}).items() if key in ("labels", "task")}


def pack(files: Sequence[Path], out: Path) -> None:
    """Put files into a zip, by their names alone."""
    unfinished = out.with_suffix(".part")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for file in files:
            archive.write(file, file.name)
    unfinished.replace(out)


def others(services: Services, job: Job) -> Iterator[Job]:
    """The other finished runs on the same base model."""
    for each in services.store.list(limit=0):
        same = each.config.base_model == job.config.base_model and each.id != job.id
        if same and not each.is_active and services.store.adapter_zip(each.id):
            yield each
