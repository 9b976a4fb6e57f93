"""Bringing an adapter that was made elsewhere into the list of runs."""

import json
import shutil
import zipfile
from pathlib import Path

from app.making import Tell, new_zip, pack, run_tool
from app.services import Services
from app.wording import after as words
from jobs.job import Job
from lora_engine import catalog
from lora_engine.adapter_config import TASK, read_settings
from lora_engine.config import TrainConfig
from lora_engine.errors import AdapterError
from lora_engine.extras import check_base

TAKEN = (".safetensors", ".json", ".md", ".jinja", ".model", ".txt", ".png")
"""What is taken along from a folder: no pickles of a trainer."""


def bring_in(
    services: Services,
    path: Path,
    base_model: str,
    tell: Tell,
    name: str = "",
    quantization: str = "",
) -> Job:
    """Check an adapter made elsewhere against its base model and keep it with the runs.

    ``quantization`` is how its base was held in training, which PEFT's files do not say: as
    ``TrainConfig.quantization``, or empty for what the adapter says of itself.

    Raises:
        AdapterError: it is no adapter; ToolError: it does not fit, with every wrong tensor named;
            SettingsError: its base cannot be held so, or not on this machine.
    """
    if not path.exists():
        raise AdapterError(words.BRING_NONE.format(path=path))
    if quantization:  # before the adapter is looked at, which takes a while
        like = {"base_model": "-", "dataset": "-", "quantization": quantization}
        check_base(TrainConfig.parse(like).quantization)
    arguments = ["check", f"--adapter={path}"]
    arguments += [f"--base-model={base_model.strip()}"] if base_model.strip() else []
    found = run_tool(services, [], arguments, tell)
    labels = {"text": "text", "label": "label"} if found["task"] == "classification" else None
    config = TrainConfig.parse({
        "base_model": found["base_model"], "dataset": words.ELSEWHERE, "task": found["task"],
        "roles": labels, "lora": found["lora"],
        "quantization": quantization or read_settings(path).quantization,
    })  # fmt: skip
    if not catalog.is_starter(config.base_model):
        catalog.remember(config.base_model, services.home)
    with new_zip(services) as out:
        _take(path, out)
        if quantization:
            _note(out, quantization)
        metrics = {"origin": words.ORIGIN_BROUGHT, "sentence": found["sentence"]}
        if found["labels"]:
            metrics["labels"] = found["labels"]
        return services.store.add_made(config, name or path.stem, out, metrics)


def _take(path: Path, out: Path) -> None:
    """Make the zip ``out`` of an adapter's folder or zip."""
    if path.is_dir():
        pack([file for file in path.iterdir() if file.suffix in TAKEN and file.is_file()], out)
    else:
        shutil.copyfile(path, out)


def _note(adapter: Path, quantization: str) -> None:
    """Write into an adapter's zip how its base was held."""
    about = read_settings(adapter).about | {"quantization": quantization}
    noted = adapter.with_suffix(".noted")
    with zipfile.ZipFile(adapter) as before, zipfile.ZipFile(noted, "w") as after:
        for member in before.namelist():
            if member != TASK:
                with before.open(member) as old, after.open(member, "w", force_zip64=True) as new:
                    shutil.copyfileobj(old, new)
        after.writestr(TASK, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    noted.replace(adapter)
