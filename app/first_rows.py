"""The first rows of a kept data set, for the page and for programs."""

from app.data_view import unused
from lora_engine.data.library import Library, TableRows
from lora_engine.data.nouns import Dataset, Sample
from lora_engine.errors import DataError, RowsLostError

ROWS_FOR_LABELS = 200
"""Rows that show whether a column that is not used could be a label."""


def first_samples(library: Library, dataset: Dataset, count: int) -> list[Sample]:
    """The first usable rows as the model sees them; none where the roles cannot be used.

    Raises RowsLostError where the rows cannot be read.
    """
    try:
        return list(library.samples(dataset.dataset_id, count))
    except RowsLostError:
        raise
    except DataError:
        return []


def rows_for_labels(library: Library, dataset: Dataset) -> TableRows:
    """Rows as they stand in the file, where a column that is not used could be a label.

    Raises RowsLostError where they cannot be read.
    """
    if dataset.task != "text" or not unused(dataset):
        return []
    return library.raw_rows(dataset.dataset_id, ROWS_FOR_LABELS)
