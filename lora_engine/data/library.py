"""The kept data sets: one folder each, named by the file's hash, complete or not there at all.

    home/datasets/<dataset_id>/    original.csv (any suffix), rows.arrow, dataset.json

A folder is made under another name and renamed when it is complete, so that two processes may
add the same file at once and a crash leaves nothing half done.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from lora_engine.data.check import check_rows
from lora_engine.data.intake import OnProgress, checked, keep_file, read_in
from lora_engine.data.nouns import Dataset, Sample
from lora_engine.data.read import open_source
from lora_engine.data.roles import check_roles
from lora_engine.data.rowfile import read_rows
from lora_engine.errors import DataError, RowsLostError
from lora_engine.paths import existing_file

__all__ = ["Dataset", "Library"]

SAMPLES = Path(__file__).parent.parent / "samples"
SAMPLE_SET = SAMPLES / "lighthouse_keeper.jsonl"
SAMPLE_SET_NAME = "Lighthouse keeper (sample)"
LONGEST_NAME = 200
"""Characters of a name that a sentence repeats."""
ABANDONED_SECONDS = 86_400
"""Age at which a folder that was never completed is removed."""

TableRows = list[dict[str, str | None]]
"""Rows as they stand in the file: column → cell; where a row lacks the field, None."""


def no_data(said: str, what: str = "data set") -> DataError:
    """The error for data that are not there, with the end of a long name left out."""
    name = said if len(said) <= LONGEST_NAME else f"{said[:LONGEST_NAME]}…"
    return DataError(f"There is no {what} “{name}”; choose another one.")


class Library:
    """The data sets in ``home/datasets``."""

    def __init__(self, home: Path) -> None:
        self._folder = Path(home) / "datasets"

    def add(
        self, path: Path | str, name: str = "", on_progress: OnProgress | None = None
    ) -> Dataset:
        """Keep a file as a data set; the same bytes give the data set that is already kept.

        Args:
            path: an Excel, CSV, TSV, semicolon, text, JSON, JSON Lines or Parquet file.
            name: what to call it; empty means the file's name.
            on_progress: hears the share done and a sentence.

        Raises:
            DataError: it cannot be read as rows.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"There is no file {path}.")
        try:
            return self._add(path, name.strip(), on_progress or _silent)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise DataError(f"The file {path.name} cannot be kept: {reason}.") from error

    def add_sample_set(self) -> Dataset:
        """Keep the data set that ships with the project."""
        return self.add(SAMPLE_SET, SAMPLE_SET_NAME)

    def get(self, dataset_id: str) -> Dataset:
        """One data set; raises DataError where there is none with this id."""
        try:
            return Dataset.model_validate_json((self._of(dataset_id) / "dataset.json").read_bytes())
        except (OSError, ValueError):
            raise no_data(dataset_id) from None

    def list(self) -> list[Dataset]:
        """All data sets, newest first."""
        found = []
        for folder in self._folder.glob("*/"):
            try:
                found.append(self.get(folder.name))
            except DataError:
                continue  # not complete, or being deleted
        return sorted(found, key=lambda dataset: dataset.created_at, reverse=True)

    def set_roles(
        self,
        dataset_id: str,
        roles: Mapping[str, str | None],
        on_progress: OnProgress | None = None,
    ) -> Dataset:
        """Say what the columns mean, and check all rows again.

        Raises:
            DataError: the data set is unknown, or the roles cannot be used with it.
        """
        dataset = self.get(dataset_id)
        chosen = check_roles(roles, dataset.columns)
        dataset = dataset.model_copy(update={"roles": chosen, "roles_note": ""})
        tell = on_progress or _silent
        try:
            dataset = checked(dataset, self._of(dataset_id) / "rows.arrow", tell)
            _write(dataset, self._of(dataset_id))
        except (FileNotFoundError, RowsLostError):  # deleted meanwhile, from another page
            self.get(dataset_id)
            raise
        return dataset

    def remove(self, dataset_id: str) -> None:
        """Delete a data set; raises DataError where there is none with this id."""
        self.get(dataset_id)
        doomed = self._folder / f".old-{uuid.uuid4().hex}"
        self._of(dataset_id).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def resolve(self, reference: str) -> Dataset:
        """The data set with this id, or else the file at this path, which is kept first.

        Raises:
            DataError: there is neither, or the file cannot be read as rows.
        """
        try:
            return self.get(reference)
        except DataError:
            file = existing_file(reference)
            if file is None:
                raise no_data(reference, "data set and no file") from None
        return self.add(file)

    def samples(
        self,
        dataset_id: str,
        limit: int | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> Iterator[Sample]:
        """The usable rows in file order, read as they are asked for.

        Args:
            dataset_id: a kept data set.
            limit: the most rows to give; None means all.
            roles: role → column, other than those kept with the data set.

        Raises:
            DataError: the data set is unknown, or the roles cannot be used with it.
        """
        dataset = self.get(dataset_id)
        chosen = dataset.roles if roles is None else check_roles(roles, dataset.columns)
        places = [dataset.columns.index(column) for column in chosen.values()]
        labels = tuple(dataset.label_counts) if chosen == dataset.roles else ()
        rows = check_rows(read_rows(self._of(dataset_id) / "rows.arrow", places), chosen, labels)
        return islice((row for row in rows if isinstance(row, Sample)), limit)

    def raw_rows(self, dataset_id: str, limit: int) -> TableRows:
        """The first rows as they stand in the file: column → cell. Raises DataError."""
        columns = self.get(dataset_id).columns
        batches = read_rows(self._of(dataset_id) / "rows.arrow", range(len(columns)))
        rows = (
            dict(zip(columns, cells, strict=True))
            for batch in batches
            for _, problem, cells in batch.rows()
            if problem is None
        )
        return list(islice(rows, limit))

    def original(self, dataset_id: str) -> Path:
        """The kept copy of the person's file; raises DataError where there is no such data set."""
        self.get(dataset_id)
        return next(self._of(dataset_id).glob("original*"))

    @staticmethod
    def peek(path: Path | str, limit: int = 20) -> TableRows:
        """The first rows of a file that is not kept, within seconds for any size.

        Raises:
            DataError: it cannot be read as rows.
        """
        with open_source(Path(path), head=limit) as source:
            return [
                dict(zip(source.columns, row.cells, strict=True))
                for row in source.rows
                if row.problem is None
            ]

    def _add(self, path: Path, name: str, tell: OnProgress) -> Dataset:
        with self._new_folder() as folder:
            original = keep_file(path, folder, tell)
            kept = self._of(original.dataset_id)
            if not self._is_complete(kept):
                dataset = read_in(original, name or path.name, tell)
                _write(dataset, folder)
                self._publish(folder, kept)
        dataset = self.get(original.dataset_id)
        if name and name != dataset.name:
            dataset = dataset.model_copy(update={"name": name})
            _write(dataset, kept)
        return dataset

    def _of(self, dataset_id: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{16}", dataset_id):
            raise no_data(dataset_id)
        return self._folder / dataset_id

    def _is_complete(self, kept: Path) -> bool:
        """Whether a data set can be used; one damaged by a loss of power is made anew."""
        try:
            self.get(kept.name)
        except DataError:
            return False
        return (kept / "rows.arrow").is_file()

    def _publish(self, folder: Path, kept: Path) -> None:
        """Give a complete folder its name, unless another process was first with the same file."""
        if kept.exists() and not self._is_complete(kept):
            shutil.rmtree(kept)
        try:
            folder.rename(kept)
        except OSError:
            if not self._is_complete(kept):
                raise

    @contextmanager
    def _new_folder(self) -> Iterator[Path]:
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (*self._folder.glob(".new-*"), *self._folder.glob(".old-*")):
            if time.time() - old.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        folder = self._folder / f".new-{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _silent(_share: float, _sentence: str) -> None:
    """Nobody wants to hear of progress."""


def _write(dataset: Dataset, folder: Path) -> None:
    new = folder / f".{uuid.uuid4().hex}.json"
    with new.open("w", encoding="utf-8") as file:
        file.write(dataset.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())  # a name may reach the disk before what it names
    new.replace(folder / "dataset.json")
