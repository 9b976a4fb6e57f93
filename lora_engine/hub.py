"""Models of the model hub: found in its local cache, or fetched with safetensors only."""

import errno
import io
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from tqdm import tqdm

from lora_engine.errors import ModelError
from lora_engine.folders import check_folder
from lora_engine.progress import Progress, Report

log = logging.getLogger(__name__)

CONFIG = "config.json"
FILES = [
    CONFIG,
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template*",
]
IGNORED = ["*/*", "*.py", "*.bin"]  # other formats in subfolders, code, pickles
SECONDS_BETWEEN_REPORTS = 0.2


@dataclass(frozen=True)
class Hub:
    """A model hub and the local cache of what was fetched from it."""

    endpoint: str | None = None
    """Address of the hub; None means the one that huggingface_hub is set to."""
    cache_dir: Path | None = None
    """None means the cache that every tool of the hub shares."""

    def cached(self, repo_id: str) -> Path | None:
        """The whole model, where it is in the cache; nothing is asked of the network."""
        try:
            folder = self._snapshot(repo_id, local_files_only=True)
            check_folder(folder)
        except (LocalEntryNotFoundError, ModelError):
            return None
        return folder

    def fetch(self, repo_id: str, report: Report) -> Path:
        """The folder of a model, fetched where it is not in the cache.

        Raises:
            ModelError: there is no such model, it may not be had, the hub cannot be reached, or
                it is no whole model in safetensors.
        """
        if found := self.cached(repo_id):
            return found
        report(_fetching(f"Fetching {repo_id}"))
        self.config_folder(repo_id)  # what cannot be had is told before anything large is fetched
        try:
            folder = self._snapshot(repo_id, tqdm_class=_bar_class(repo_id, report))
        except Exception as error:  # the client's, the hub's and the system's share no base
            raise _trouble(repo_id, error) from error
        try:
            check_folder(folder)
        except ModelError as error:
            raise ModelError(str(error).replace(str(folder), repo_id)) from None
        return folder

    def config_folder(self, repo_id: str) -> Path:
        """A folder that holds the model's config.json, and maybe nothing else.

        Raises:
            ModelError: as ``fetch``.
        """
        known = try_to_load_from_cache(repo_id, CONFIG, cache_dir=self.cache_dir)
        if isinstance(known, str):
            return Path(known).parent
        try:  # a snapshot, because it tells at once where there is no network, and never retries
            folder = self._snapshot(
                repo_id, allow_patterns=[CONFIG], tqdm_class=_bar_class("", _ignore)
            )
        except Exception as error:  # as above
            raise _trouble(repo_id, error) from error
        if not (folder / CONFIG).is_file():
            raise ModelError(f"{repo_id} holds no model: it has no config.json.")
        return folder

    def _snapshot(self, repo_id: str, **options: Any) -> Path:
        fixed = {"cache_dir": self.cache_dir, "endpoint": self.endpoint, "ignore_patterns": IGNORED}
        return Path(snapshot_download(repo_id, **fixed | {"allow_patterns": FILES} | options))


def is_hub_id(text: str) -> bool:
    """Whether ``text`` could name a model on the hub: ``name`` or ``owner/name``."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return True


def revision(folder: Path) -> str | None:
    """The commit of a folder in the hub's cache (``snapshots/<commit>``)."""
    return folder.name if folder.parent.name == "snapshots" else None


def _bar_class(repo_id: str, report: Report) -> "type[tqdm[Any]]":
    """A progress bar that tells ``report`` the megabytes instead of drawing."""

    class Bar(tqdm):  # type: ignore[type-arg]  # not generic at run time
        reported_at = 0.0

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            changed = super().update(n)
            now = time.monotonic()
            written = self.unit == "B" and (self.desc or "").startswith("Reconstruct")
            if written and now - self.reported_at >= SECONDS_BETWEEN_REPORTS:
                self.reported_at = now
                done, size = round(self.n / 1e6), round((self.total or 0) / 1e6)
                report(_fetching(f"Fetching {repo_id}: {done} of {size} MB"))
            return changed

    return Bar


def _fetching(message: str) -> Progress:
    return Progress(phase="fetching", message=message)


def _trouble(repo_id: str, error: Exception) -> ModelError:
    """The sentence for what the hub's client raised."""
    log.info("%s could not be fetched", repo_id, exc_info=error)
    if isinstance(error, GatedRepoError):
        return ModelError(
            f"{repo_id} is a gated model: accept its terms on its page at the model hub, log in "
            "on this machine with `hf auth login`, then try again."
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"The model hub has no model {repo_id}, or it is private: check the spelling, which "
            "is owner/name."
        )
    if isinstance(error, LocalEntryNotFoundError | httpx2.TransportError | ConnectionError):
        return ModelError(
            f"{repo_id} is not on this machine, and the model hub cannot be reached: check the "
            "network connection, or choose a starter model or a folder."
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ModelError(f"The disk is full: make room, then fetch {repo_id} again.")
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(f"{repo_id} could not be fetched: {first}")


def _ignore(_: Progress) -> None: ...
