"""Endpoints of the Data tab: keeping files, what their columns mean, what is learned from them."""

from pathlib import Path

from app import keeping
from app.data_view import learn_sentence, unused_sentences
from app.endpoints.arguments import Door, Json, json_object, text, whole_number
from app.first_rows import first_samples, rows_for_labels
from app.uploads import discard
from lora_engine.data.nouns import Dataset
from lora_engine.errors import DataError

MOST_PREVIEWED = 200


def dataset_row(dataset: Dataset) -> Json:
    """What /add_dataset and /set_roles give."""
    return {
        "dataset_id": dataset.dataset_id,
        "rows": dataset.rows,
        "columns": list(dataset.columns),
        "roles": dataset.roles,
        "task": dataset.task,
        "problems": [problem.model_dump(mode="json") for problem in dataset.problems],
    }


def listed_dataset_row(dataset: Dataset) -> Json:
    """What /list_datasets gives for each: the problems are counted, of which there may be many."""
    row = dataset_row(dataset)
    del row["problems"]
    return {
        "dataset_id": row.pop("dataset_id"),
        "name": dataset.name,
        "created_at": dataset.created_at,
        **row,
        "total_rows": dataset.total_rows,
        "problem_count": dataset.problem_count,
    }


class DataEndpoints(Door):
    """One method an endpoint; the names of methods and arguments are promises."""

    def add_dataset(self, file: str | None, name: str = "") -> Json:
        """Keep an Excel, CSV, TSV, JSON Lines, JSON or Parquet file; roles are guessed."""
        if not file:
            raise DataError("Choose a file: Excel, CSV, TSV, JSON Lines, JSON or Parquet.")
        added = self.services.library.add(Path(file), name=name or "")
        discard(file)
        return dataset_row(added)

    def add_sample_dataset(self) -> Json:
        """Keep the sample data that ships with the project."""
        return dataset_row(self.services.library.add_sample_set())

    def list_datasets(self) -> list[Json]:
        """All kept data sets, newest first."""
        return [listed_dataset_row(each) for each in self.services.library.list()]

    def preview_dataset(self, dataset_id: str, rows: int = 5) -> Json:
        """What is learned from a data set, in words and by its first rows, and what is left out.

        ``samples`` are the first usable rows as the model sees them, ``table`` the first rows as
        they stand in the file (column → cell).
        """
        library = self.services.library
        dataset = library.get(text(dataset_id, "dataset_id"))
        count = whole_number(rows, "rows", 1, MOST_PREVIEWED)
        unused = unused_sentences(dataset, rows_for_labels(library, dataset))
        samples = first_samples(library, dataset, count)
        return {
            **listed_dataset_row(dataset),
            "sentence": learn_sentence(dataset.roles),
            "notes": [*dataset.all_notes, *unused],
            "file_name": dataset.file_name,
            "format": dataset.format,
            "encoding": dataset.encoding,
            "label_counts": dataset.label_counts,
            "problems": dataset_row(dataset)["problems"],
            "samples": [each.model_dump(mode="json") for each in samples],
            "table": library.raw_rows(dataset.dataset_id, count),
        }

    def set_roles(self, dataset_id: str, roles: Json | str) -> Json:
        """Say which column of a kept data set is what: role name → column name."""
        given = json_object(roles, "roles")
        kept = text(dataset_id, "dataset_id")
        return dataset_row(self.services.library.set_roles(kept, given))

    def delete_dataset(self, dataset_id: str) -> Json:
        """Delete a data set that no waiting or running run needs; gives what it was."""
        dataset = self.services.library.get(text(dataset_id, "dataset_id"))
        keeping.delete_dataset(self.services, dataset.dataset_id)
        return listed_dataset_row(dataset)
