"""Errors whose message is a sentence for the person at the page."""


class WorkbenchError(Exception):
    """Something the person can understand and act on; ``str(error)`` is that sentence."""


class SettingsError(WorkbenchError):
    """A setting has a value that cannot be used.

    ``field`` is the dotted name of the setting, such as ``lora.r`` or ``learning_rate``.
    """

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class DataError(WorkbenchError):
    """A file cannot be read as data, or holds nothing that can be learned."""


class RowsLostError(DataError):
    """The kept rows of a data set are damaged or gone."""

    def __init__(self) -> None:
        super().__init__(
            "The rows of this data set can no longer be read: delete it, and upload its file again."
        )


class ModelError(WorkbenchError):
    """A base model cannot be found, fetched or used."""


class DivergedError(WorkbenchError):
    """A run whose loss or weights are no numbers any more after ``step`` updates."""

    def __init__(self, step: int) -> None:
        super().__init__(
            f"The loss is no longer a number after update {step}: try a lower learning rate."
            if step
            else "The loss of the first update is not a number: try precision fp32, or check that "
            "the base model is whole."
        )


class AdapterError(WorkbenchError):
    """An adapter file cannot be read or does not fit its base model."""


def first_line(error: BaseException) -> str:
    """What a library says of an error, without the pages that may follow."""
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    if first.endswith(":") and others:  # a heading, such as torch's of tensors that do not fit
        first += f" {others[0].strip()}"
    return first[:200]
