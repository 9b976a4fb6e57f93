"""Let an adapter answer a whole file, and write the answers beside the file's own columns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.adapter import Adapter
from lora_engine.answer_file import AnswerFile, Value, check_out, free_names
from lora_engine.answering import Answerer, Desk, Reply
from lora_engine.base_form import base_form, check_carries
from lora_engine.config import Quantization
from lora_engine.data.asking import Asked, Hints, ask, asking_roles
from lora_engine.data.library import Library, no_data
from lora_engine.data.read import open_source
from lora_engine.errors import DataError, SettingsError
from lora_engine.extras import check_base
from lora_engine.generate import Decoding
from lora_engine.model import choose_device
from lora_engine.paths import existing_file
from lora_engine.prediction import Prediction, sentence_of
from lora_engine.progress import Progress, Report, ShouldStop
from lora_engine.tasks.registry import TASKS

LOOKED_AT = 1000
"""First rows that tell what the columns hold."""
KEPT_TROUBLES = 20


@dataclass(frozen=True)
class Order:
    """What is to be answered, and how."""

    data: str
    """The id of a kept data set, or the path of a file."""
    out: Path
    """A new file: .csv or .jsonl."""
    decoding: Decoding
    limit: int | None = None
    """The most rows to answer; None means all."""
    with_base: bool = False
    """Whether the base model answers beside the adapter."""

    def check(self) -> None:
        """Raise SettingsError where it cannot be done."""
        check_out(self.out)
        if self.limit is not None and self.limit < 1:
            raise SettingsError("limit", f"limit must be at least 1, but is {self.limit}.")


def predict(
    path: Path,
    order: Order,
    *,
    home: Path,
    report: Report,
    should_stop: ShouldStop = lambda: False,
    base_model: str | None = None,
    device: str = "auto",
    quantization: Quantization | None = None,
) -> Prediction:
    """Answer the rows of a file with the adapter at ``path``, in the file's order.

    What is asked is the question before a row's last answer, which is then the expected one, or
    the whole row where nobody has answered; a file needs no answers and no labels. A text model
    goes on with each text. Rows that ask nothing are written without an answer; rows that cannot
    be read at all are not. A stop, also by Ctrl-C, leaves the rows that are done.

    The base is held in the bits of ``quantization``; None means those it was trained on.

    Raises:
        WorkbenchError: the adapter, its base model or the file cannot be used, or ``order.out``
            is there already.
    """
    order.check()
    place = choose_device(device)
    adapter = adapter_files.read(path)
    settings = adapter.settings
    held = base_form([settings]) if quantization is None else quantization
    check_carries(held, adapter.lora)
    check_base(held, "or hold the base whole with --no-4bit")
    table = _Table.of(order.data, settings.task, adapter, home)
    total = table.count(order.limit)
    folder = catalog.resolve(base_model or settings.base_model_name(path), home, report).path
    report(Progress(phase="preparing", message="Loading the model"))
    task = TASKS[settings.task].of_adapter(settings.task, adapter, folder)
    answerer = task.answerer(
        Desk(folder, adapter, order.decoding, place, held, with_base=order.with_base)
    )
    new = free_names(answerer.columns, table.columns)
    work = _Work(answerer, total, report, should_stop)
    with table.asked() as asked, AnswerFile(order.out, [*table.columns, *new]) as file:
        work.answer(_limited(asked, order.limit), file)
    found = Prediction(
        out=str(order.out),
        task=settings.task,
        roles=table.roles,
        columns=tuple(new),
        rows=work.answered,
        total_rows=total,
        unanswered=work.unanswered,
        troubles=tuple(work.troubles),
        cut=work.cut,
        stopped=work.stopped,
        scores=answerer.scores(),
        quantization=held,
    )
    return found.model_copy(update={"sentence": sentence_of(found, order.decoding.max_new_tokens)})


@dataclass(frozen=True)
class _Table:
    """A file of rows that are to be answered."""

    path: Path
    task: str
    columns: tuple[str, ...]
    roles: dict[str, str]

    @classmethod
    def of(cls, data: str, task: str, adapter: Adapter, home: Path) -> "_Table":
        """Find the file and what its columns are; raises DataError."""
        library = Library(home)
        path, own, is_guess = existing_file(data), {}, False
        try:
            dataset = library.get(data)
        except DataError:
            if path is None:
                raise no_data(data, "data set and no file") from None
        else:
            path = library.original(data)
            own, is_guess = dataset.roles, bool(dataset.roles_note)
        trained = (adapter.training or {}).get("roles") or {}
        with open_source(path) as source:  # whole: a field may first appear in its last row
            rows = [row.cells for row in islice(source.rows, LOOKED_AT) if not row.problem]
            columns = tuple(source.columns)
        roles = asking_roles(task, columns, rows, Hints(trained, own, is_guess))
        return cls(path, task, columns, roles)

    @contextmanager
    def asked(self) -> Iterator[Iterator[Asked]]:
        """What the rows ask, read as it is asked for."""
        with open_source(self.path) as source:
            yield ask(source.rows, self.columns, self.task, self.roles)

    def count(self, limit: int | None) -> int:
        """Rows that can be answered, up to ``limit``.

        Raises:
            DataError: there is none.
        """
        first_trouble, count = "", 0
        with self.asked() as asked:
            for row in _limited(asked, limit):
                count += not row.trouble
                first_trouble = first_trouble or row.trouble
        if not count:
            why = f"; the first: {first_trouble}" if first_trouble else "."
            raise DataError(f"No row of this file can be answered{why}")
        return count


class _Work:
    """Answers rows a window at a time and counts what came of them."""

    def __init__(
        self, answerer: Answerer, total: int, report: Report, should_stop: Callable[[], bool]
    ) -> None:
        self._answerer = answerer
        self._total = total
        self._report = report
        self._should_stop = should_stop
        self.answered = 0
        self.unanswered = 0
        self.cut = 0
        self.troubles: list[str] = []
        self.stopped = False

    def answer(self, asked: Iterator[Asked], file: AnswerFile) -> None:
        """Write the rows with their answers, until they or the patience end."""
        self._tell()
        while not self.stopped and (window := list(islice(asked, self._answerer.window))):
            found: dict[int, Reply] = {}
            try:
                self._answer_window(window, found)
            except KeyboardInterrupt:
                self.stopped = True
            file.write([self._row(window[place], found[place]) for place in sorted(found)])

    def _answer_window(self, window: list[Asked], found: dict[int, Reply]) -> None:
        usable = [place for place, row in enumerate(window) if not row.trouble]
        for replies in self._answerer.replies([window[p] for p in usable], self._should_stop):
            for reply in replies:
                found[usable[reply.place]] = reply
                self.answered += not reply.trouble
                self.cut += reply.cut
            self._tell()
        self.stopped = len(found) < len(usable)
        last = max(found, default=-1) if self.stopped else len(window)
        found |= {
            place: Reply(place, trouble=row.trouble)
            for place, row in enumerate(window[:last])
            if row.trouble
        }

    def _row(self, row: Asked, reply: Reply) -> list[Value]:
        if reply.trouble:
            self.unanswered += 1
            if len(self.troubles) < KEPT_TROUBLES:
                self.troubles.append(reply.trouble)
        nothing = (None,) * len(self._answerer.columns)
        return [*row.cells, *(reply.values or nothing)]

    def _tell(self) -> None:
        said = f"Answered {self.answered:,} of {self._total:,} rows"
        self._report(Progress(phase="evaluating", message=said))


def _limited(asked: Iterator[Asked], limit: int | None) -> Iterator[Asked]:
    """The rows up to and with the one that is the last to be answered."""
    count = 0
    for row in asked:
        yield row
        count += not row.trouble
        if count == limit:
            return
