"""Taking a file in: copy and hash it, write its rows to disk, guess its roles, check its rows."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from lora_engine.data.check import Content, Labelled, characters_of, check_contents
from lora_engine.data.conversation import unlearned_places
from lora_engine.data.labels import MOST_LABELS, TooManyLabelsError, counted, merged
from lora_engine.data.lines import Source
from lora_engine.data.nouns import Dataset, Problem
from lora_engine.data.read import open_source
from lora_engine.data.roles import guess, task_of
from lora_engine.data.rowfile import read_rows, write_rows
from lora_engine.data.tally import KEPT_PROBLEMS
from lora_engine.errors import DataError

OnProgress = Callable[[float, str], None]
"""Called with the share done, from 0 to 1, and a sentence."""

COPY_BYTES = 1 << 20
ROWS_FOR_GUESS = 1000
COPIED, READ = 0.1, 0.6
"""Shares of the whole work at which the file is copied and its rows are on disk."""


@dataclass(frozen=True)
class Original:
    """A copy of the person's file in the folder of its data set."""

    dataset_id: str
    path: Path
    file_name: str


def keep_file(source: Path, folder: Path, tell: OnProgress) -> Original:
    """Copy a file into ``folder`` and name it by its content; raises OSError."""
    suffix = source.suffix.lower()
    path = folder / f"original{suffix if re.fullmatch(r'[.][a-z0-9]{1,10}', suffix) else ''}"
    size, done = max(1, source.stat().st_size), 0
    digest = hashlib.sha256()
    with source.open("rb") as old, path.open("wb") as new:
        while chunk := old.read(COPY_BYTES):
            digest.update(chunk)
            new.write(chunk)
            done += len(chunk)
            tell(COPIED * min(1.0, done / size), "Copying the file")
    return Original(digest.hexdigest()[:16], path, source.name)


def read_in(original: Original, name: str, tell: OnProgress) -> Dataset:
    """Write the rows beside ``original`` and find out what they are.

    Raises:
        DataError: the file is no table, or not one of its rows can be read.
    """
    rows_path = original.path.with_name("rows.arrow")

    def on_rows(share: float) -> None:
        tell(COPIED + (READ - COPIED) * share, "Reading the rows")

    with open_source(original.path) as source:
        total_rows = write_rows(rows_path, source, on_rows)
        guessed = guess(source.columns, _first_rows(rows_path, source, total_rows))
        dataset = Dataset(
            dataset_id=original.dataset_id,
            name=name,
            file_name=original.file_name,
            created_at=datetime.now(UTC).isoformat(),
            format=source.format,
            encoding=source.encoding,
            delimiter=source.delimiter,
            columns=tuple(source.columns),
            roles=guessed.roles,
            roles_note=guessed.note,
            task=task_of(guessed.roles),
            rows=0,
            total_rows=total_rows,
            notes=tuple(source.notes),
        )
    try:
        return checked(dataset, rows_path, tell)
    except TooManyLabelsError:  # the first rows looked like labels
        roles = {"text": dataset.roles["text"]}
        return checked(dataset.model_copy(update={"roles": roles}), rows_path, tell)


def checked(dataset: Dataset, rows_path: Path, tell: OnProgress) -> Dataset:
    """``dataset`` with its task, counts and problems as its roles make them.

    Raises:
        TooManyLabelsError: the column of labels holds something else.
    """
    places = [dataset.columns.index(column) for column in dataset.roles.values()]
    count = _Count()
    for number, row in enumerate(check_contents(read_rows(rows_path, places), dataset.roles)):
        count.add(row)
        if number % 8192 == 0:
            tell(READ + (1 - READ) * number / dataset.total_rows, "Checking the rows")
    tell(1.0, "Checking the rows")
    labels, labels_note = merged(count.labels)
    return dataset.model_copy(
        update={
            "task": task_of(dataset.roles),
            "rows": count.rows,
            "problems": tuple(count.problems),
            "problem_count": sum(count.kinds.values()),
            "problem_kinds": dict(count.kinds),
            "characters": count.characters,
            "longest_characters": count.longest,
            "label_counts": counted(labels),
            "rows_notes": tuple(filter(None, (labels_note, _unlearned_note(count.unlearned)))),
        }
    )


def _unlearned_note(count: int) -> str:
    if not count:
        return ""
    are = "answer has the weight 0: it is" if count == 1 else "answers have the weight 0: they are"
    return f"{count:,} {are} read, but not learned."


class _Count:
    """What is found while the rows are checked."""

    def __init__(self) -> None:
        self.rows = 0
        self.characters = 0
        self.longest = 0
        self.problems: list[Problem] = []
        self.kinds: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.unlearned = 0
        """Answers of weight 0."""

    def add(self, row: tuple[int, Content] | Problem) -> None:
        if isinstance(row, Problem):
            self.kinds[row.kind] += 1
            if len(self.problems) < KEPT_PROBLEMS:
                self.problems.append(row)
            return
        _, content = row
        if isinstance(content, Labelled):
            self.labels[content.label] += 1
            if len(self.labels) > MOST_LABELS:
                raise TooManyLabelsError
        elif not isinstance(content, str):
            self.unlearned += len(unlearned_places(content))
        length = characters_of(content)
        self.rows += 1
        self.characters += length
        self.longest = max(self.longest, length)


def _first_rows(rows_path: Path, source: Source, total_rows: int) -> list[list[str | None]]:
    """The first readable rows; raises DataError where there is none."""
    problem = None
    rows: list[list[str | None]] = []
    for batch in read_rows(rows_path, range(len(source.columns))):
        problem = problem or next(filter(None, batch.problems), None)
        readable = (cells for _, bad, cells in batch.rows() if bad is None)
        rows += islice(readable, ROWS_FOR_GUESS - len(rows))
        if len(rows) >= ROWS_FOR_GUESS:
            break
    if rows:
        return rows
    if problem is None and source.format in ("json", "jsonl"):
        raise DataError("The file holds an empty list; add at least one object to it.")
    if problem is None:
        raise DataError("The file has a header but no row below it; add at least one row.")
    if total_rows == 1:
        raise DataError(f"The only row of the file cannot be read: {problem.message}")
    raise DataError(f"None of the {total_rows:,} rows can be read; the first: {problem.message}")
