"""Bring model and data together: a run's rows as examples of its task, split into shares."""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from lora_engine import catalog
from lora_engine.config import TrainConfig
from lora_engine.data.encode import Encoded, split
from lora_engine.data.labels import MOST_LABELS, TooManyLabelsError, counted, merged
from lora_engine.data.library import Dataset, Library
from lora_engine.data.nouns import Sample
from lora_engine.data.roles import check_roles, roles_of_test, task_of
from lora_engine.errors import DataError
from lora_engine.folders import most_positions, read_config
from lora_engine.inspection import model_task
from lora_engine.model import load_tokenizer
from lora_engine.progress import Progress, Report
from lora_engine.share import Share, Watch
from lora_engine.tasks.base import Task, Words
from lora_engine.tasks.choice import check_metric, choose_task
from lora_engine.tasks.registry import TASKS


@dataclass(frozen=True)
class Work:
    """Everything a run needs besides the model itself."""

    task: Task
    model: catalog.ModelFolder
    words: Words
    dataset: Dataset
    encoded: Encoded
    not_drawn: int
    """Usable rows that were not asked for."""
    training: Share
    validation: Share
    test: Share | None
    """Rows of a file of their own, to measure with at the end."""

    @property
    def longest(self) -> int:
        """Tokens of the longest row, as the model will see it."""
        test = self.test.encoded.longest if self.test else 0
        return min(max(self.encoded.longest, test), self.words.max_length)

    @property
    def fingerprint(self) -> str:
        """The same for the same rows, read in the same way and split alike."""
        counts = len(self.training), len(self.validation), self.encoded.tokens
        return " ".join(map(str, (self.dataset.dataset_id, *counts)))

    def watched(self, watch: Watch) -> "Work":
        """The same, with a call to ``watch`` every few rows while something is measured on them."""
        test = self.test and replace(self.test, watch=watch)
        return replace(self, validation=replace(self.validation, watch=watch), test=test)


def prepare(config: TrainConfig, home: Path, out_dir: Path, report: Report) -> Work:
    """Find the model and the data of ``config`` and turn the rows into examples.

    Raises:
        WorkbenchError: the model or the data cannot be used, or not together.
    """
    library = Library(home)
    dataset = library.resolve(config.dataset)
    test_set = library.resolve(config.test_dataset) if config.test_dataset else None
    roles = check_roles(config.roles, dataset.columns) if config.roles else dataset.roles
    model = catalog.resolve(config.base_model, home, report)
    settings = read_config(model.path)
    words = Words(
        load_tokenizer(model.path), min(config.max_length, most_positions(settings)), settings
    )
    name = choose_task(config.task, task_of(roles), model_task(model.path))
    check_metric(config.metric_for_best_model, name)
    task = TASKS[name].of_run(name, config, _label_counts(library, dataset, roles))
    report(Progress(phase="preparing", message="Turning rows into tokens"))
    drawn, not_drawn = _draw(config, library, dataset, roles)
    whole = _encode(task, words, library, dataset, roles, out_dir / "tokens", drawn)
    train_rows, validation_rows = split(
        whole.encoded.rows, config.validation_share, config.seed, evenly=task.evenly
    )
    test = None
    if test_set:
        test = _encode_test(task, words, library, test_set, roles, out_dir / "test-tokens")
    return Work(
        task=task,
        model=model,
        words=words,
        dataset=dataset,
        encoded=whole.encoded,
        not_drawn=not_drawn,
        training=replace(whole, rows=list(train_rows)),
        validation=replace(whole, rows=list(validation_rows)),
        test=test,
    )


def _encode(
    task: Task,
    words: Words,
    library: Library,
    dataset: Dataset,
    roles: dict[str, str],
    cache_dir: Path,
    drawn: Set[int] | None = None,
) -> Share:
    """The rows of a data set as one share: all, or those at the ``drawn`` places."""

    def samples() -> Iterator[Sample]:
        return library.samples(dataset.dataset_id, roles=roles)

    chosen = (row for place, row in enumerate(samples()) if drawn is None or place in drawn)
    encoded = task.encode(chosen, words, cache_dir)
    return Share(dataset.name, encoded, list(range(len(encoded.rows))), samples)


def _draw(
    config: TrainConfig, library: Library, dataset: Dataset, roles: dict[str, str]
) -> tuple[Set[int] | None, int]:
    """Places of the usable rows that ``config.max_samples`` asks for, None for all of them, and
    how many others there are."""
    most = config.max_samples
    if most is None:
        return None, 0
    rows = dataset.rows
    if roles != dataset.roles:
        rows = sum(1 for _ in library.samples(dataset.dataset_id, roles=roles))
    if rows <= most:
        return None, 0
    return set(Random(config.seed).sample(range(rows), most)), rows - most


def _encode_test(
    task: Task,
    words: Words,
    library: Library,
    dataset: Dataset,
    roles: dict[str, str],
    cache_dir: Path,
) -> Share:
    """The rows to test with: by the columns of the training data, else by their own names."""
    roles = roles_of_test(dataset, roles)
    try:
        return _encode(task, words, library, dataset, roles, cache_dir)
    except DataError as error:
        raise DataError(f"The test data “{dataset.name}” cannot be used: {error}") from None


def _label_counts(library: Library, dataset: Dataset, roles: dict[str, str]) -> dict[str, int]:
    """Label → usable rows; empty where the roles name no label."""
    if "label" not in roles:
        return {}
    counts = Counter(dataset.label_counts)
    if roles != dataset.roles:
        counts = Counter(row.label for row in library.samples(dataset.dataset_id, roles=roles))
    if len(counts) > MOST_LABELS:
        raise TooManyLabelsError
    return counted(merged(counts)[0])
