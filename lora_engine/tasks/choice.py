"""Which task fits a data set and a model (no torch: the page asks, too)."""

from lora_engine.config import Metric, Task
from lora_engine.errors import SettingsError

NEEDS_DATA = {
    "chat": ("chat",),
    "text": ("text", "classification"),
    "classification": ("classification",),
    "seq2seq": ("chat",),
}
"""Task → what the roles of a data set for it amount to (``Dataset.task``)."""
NEEDS_MODEL = {
    "chat": ("chat",),
    "text": ("chat",),
    "classification": ("chat", "classification", "seq2seq"),
    "seq2seq": ("seq2seq",),
}
"""Task → what a model for it is made for (``ModelProfile.task`` with no task asked for)."""
COLUMNS = {
    "chat": "a question and an answer",
    "text": "plain text",
    "classification": "a text and a label",
    "seq2seq": "a question and an answer",
}
MODELS = {
    "chat": "writes on from a text",
    "classification": "reads texts and cannot write",
    "seq2seq": "rewrites one text into another",
}


def choose_task(wanted: Task, data_task: str, model_task: str) -> str:
    """The task of a run: ``chat``, ``text``, ``classification`` or ``seq2seq``.

    Args:
        wanted: ``TrainConfig.task``; ``auto`` follows the data, and with questions and answers
            also the model.
        data_task: what the roles say, ``Dataset.task``.
        model_task: what the model was made for.

    Raises:
        SettingsError: data and model do not go together, or not with ``wanted``.
    """
    auto = "seq2seq" if (data_task, model_task) == ("chat", "seq2seq") else data_task
    task = auto if wanted == "auto" else wanted
    if data_task not in NEEDS_DATA[task]:
        raise SettingsError(
            "task",
            f"The task {task} needs columns for {COLUMNS[task]}, but this data set has "
            f"{COLUMNS[data_task]}; say which columns they are, or choose another task.",
        )
    if model_task not in NEEDS_MODEL[task]:
        raise SettingsError(
            "base_model",
            f"This model {MODELS[model_task]}, but the data set has {COLUMNS[data_task]} to learn "
            f"from; choose {_other(task)}.",
        )
    return task


def check_metric(metric: Metric, task: str) -> None:
    """Raise SettingsError where the best shall be kept by what a run of ``task`` does not have."""
    if metric != "loss" and task != "classification":
        raise SettingsError(
            "metric_for_best_model",
            f"Accuracy and F1 are measured of labels, so metric_for_best_model {metric} needs the "
            f"task classification, and this run's is {task}: choose loss.",
        )


def _other(task: str) -> str:
    if task == "seq2seq":
        return "an encoder-decoder such as T5 or BART"
    return "a chat model, or columns for a text and its label"
