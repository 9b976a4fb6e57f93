"""What the data part speaks of: turns, samples, problems and data sets. All frozen."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant"]
ProblemKind = Literal["empty", "missing", "broken", "duplicate", "too_long"]
DataTask = Literal["chat", "text", "classification"]
Format = Literal["csv", "tsv", "text", "json", "jsonl", "xlsx", "parquet"]


class Noun(BaseModel):
    """Frozen, and nothing in it that has no name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Noun):
    """One row's trouble in plain words."""

    line: int
    """Line of the original file on which the row begins, or row of the sheet; the first is 1."""
    kind: ProblemKind
    message: str
    """A sentence that names the line and the reason."""


class Turn(Noun):
    """What one speaker says at one time."""

    role: Role
    content: str
    weight: Literal[0, 1] = Field(default=1, exclude_if=bool)
    """OpenAI's: 0 where an answer is read but not learned. Written down only then."""

    @property
    def is_learned(self) -> bool:
        """Whether this is an answer that the model learns to give."""
        return self.role == "assistant" and self.weight == 1


class Sample(Noun):
    """One usable row as the model sees it: a conversation, plain text, or a text with its label."""

    line: int
    messages: tuple[Turn, ...] = ()
    """The conversation; empty for plain text."""
    text: str = ""
    """The plain text; empty for a conversation."""
    text_pair: str = ""
    """The second text, where pairs of texts have a label; else empty."""
    label: str = ""
    """The class of the text, or of the pair; empty where there is none to learn."""


class Dataset(Noun):
    """A kept file, what its columns mean, and what was found in its rows."""

    dataset_id: str
    """The first 16 hex digits of the file's sha256: the same bytes are the same data set."""
    name: str
    file_name: str
    """Name of the original file, which is kept beside the rows."""
    created_at: str
    """ISO 8601, UTC."""
    format: Format
    encoding: str
    """Python's name of the text encoding; empty for a workbook and for Parquet."""
    delimiter: str = ""
    """What separates the columns of a table in text; else, and for one column, empty."""
    columns: tuple[str, ...]
    roles: dict[str, str]
    """Role name → column name."""
    task: DataTask
    rows: int
    """Usable rows."""
    total_rows: int
    """All rows, usable or not."""
    problems: tuple[Problem, ...] = ()
    """The first 1000, in file order."""
    problem_count: int = 0
    problem_kinds: dict[str, int] = {}
    """How many problems there are of each kind that occurs."""
    characters: int = 0
    """Characters of all usable rows together."""
    longest_characters: int = 0
    """Characters of the longest usable row."""
    label_counts: dict[str, int] = {}
    """Label → usable rows that have it, in the order of the classes (see ``labels.ordered``);
    empty where the roles name no label."""
    notes: tuple[str, ...] = ()
    """Sentences on what was decided while reading, such as that there is no header."""
    roles_note: str = ""
    """A sentence where the roles are a guess that no column name supports; else empty."""
    rows_notes: tuple[str, ...] = ()
    """Sentences on what was decided while the rows were checked, such as which labels are one."""

    @property
    def all_notes(self) -> tuple[str, ...]:
        """Everything that was decided, in sentences."""
        guessed = (self.roles_note,) if self.roles_note else ()
        return (*self.notes, *guessed, *self.rows_notes)
