"""A run's adapter answers a whole file: the answers lie in the run's folder until the next ones.

    jobs/<id>/answers/    answers.csv or answers.jsonl, report.json

The page and the programs' door both come here.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from app import making
from app.comparing import adapter_of
from app.making import Json, Tell
from app.services import Services
from jobs.job import Job
from lora_engine.settings import Settings

FOLDER = "answers"
REPORT = "report.json"


class FileOptions(Settings):
    """How a file is answered."""

    limit: Annotated[int, Field(ge=1)] | None = 100
    """The most rows to answer, from the top; None means all."""
    with_base: bool = False
    """Whether the base model answers beside the adapter."""
    format: Literal["csv", "jsonl"] = "csv"
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    temperature: Annotated[float, Field(ge=0, le=5)] = 0
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


def answer_file(
    services: Services,
    job: Job,
    data: str,
    options: FileOptions,
    tell: Tell,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, Json]:
    """The file of answers, and ``lora_engine.prediction.Prediction`` as JSON.

    Args:
        services: the data folder.
        job: a finished run.
        data: the id of a kept data set, or the path of a file.
        options: how many rows, and how.
        tell: hears what is being done.
        should_stop: once it says so, the rows that are done make the file.

    Raises:
        AdapterError: the run has no adapter; ToolError: the file cannot be answered.
    """
    adapter = adapter_of(services, job)
    home = services.store.job_dir(job.id)
    with (
        services.working_on([job]),
        tempfile.TemporaryDirectory(dir=home, prefix=".answers-") as unfinished,
    ):
        made = Path(unfinished) / FOLDER
        made.mkdir()
        out = made / f"answers.{options.format}"
        arguments = [
            *("predict", f"--adapter={adapter}", f"--data={data}", f"--out={out}"),
            f"--base-model={job.config.base_model}",
            f"--max-new-tokens={options.max_new_tokens}",
            *(f"--temperature={options.temperature:.12f}", f"--seed={options.seed}"),
            *([f"--limit={options.limit}"] if options.limit else []),
            *(["--with-base"] if options.with_base else []),
        ]
        found = making.run_tool(services, [job], arguments, tell, should_stop)
        (made / REPORT).write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        kept = home / FOLDER
        if kept.exists():
            kept.rename(Path(unfinished) / "before")
        made.rename(kept)
    return kept / out.name, found


def latest(services: Services, job_id: int) -> tuple[Path, Json] | None:
    """The run's last file of answers and what came of it; None where there is none."""
    folder = services.store.job_dir(job_id) / FOLDER
    file = next(iter(sorted(folder.glob("answers.*"))), None)
    try:
        found: Any = json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    return (file, found) if file and isinstance(found, dict) else None


def forget(services: Services, job_id: int) -> None:
    """Delete what the run's adapter answered: it is about to be another."""
    shutil.rmtree(services.store.job_dir(job_id) / FOLDER, ignore_errors=True)
