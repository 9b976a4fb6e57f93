"""Between the Train tab's values and a TrainConfig; pure functions."""

import json
import math
from dataclasses import dataclass
from typing import Any

from app.field_texts import to_control, to_setting
from app.fields import BY_NAME, FIELDS, PATTERN, TARGETS, applies
from app.html import plural
from app.wording import train as words
from lora_engine.config import TrainConfig
from lora_engine.data.nouns import Dataset
from lora_engine.errors import SettingsError
from lora_engine.profile import ModelProfile

FEW_ROWS = 20
FEW_UPDATES = 10
"""Fewer than these hardly change a model."""
CHARACTERS_A_TOKEN = 4
"""Of English text, roughly; of Chinese there are fewer."""
Values = dict[str, Any]
"""Dotted setting name → value, as in ``lora.r``."""


def default_values() -> Values:
    """Every field's default, by dotted name."""
    return form_values(TrainConfig(base_model="-", dataset="-")) | {TARGETS: None}


def nested(values: Values, task: str = "", profile: ModelProfile | None = None) -> dict[str, Any]:
    """Dotted names → the nested JSON form of a TrainConfig.

    Settings that do nothing beside the others, with data of this ``task``, or with the model, are
    left out: what stands in a hidden field decides nothing.

    Raises:
        SettingsError: a value that is needed is empty, or a text that cannot be read.
    """
    settings: dict[str, Any] = {"lora": {}}
    for name, value in values.items():
        if not applies(name, values, task, profile) or name == PATTERN:
            continue
        folder, _, last = name.rpartition(".")
        place = settings[folder] if folder else settings
        place[last] = to_setting(BY_NAME[name], value) if name in BY_NAME else value
    if applies(PATTERN, values, task, profile):
        pattern = to_setting(BY_NAME[PATTERN], values.get(PATTERN))
        if pattern:
            settings["lora"]["target_modules"] = pattern
    return settings


def make_config(
    values: Values,
    base_model: str,
    dataset: str,
    task: str = "",
    profile: ModelProfile | None = None,
) -> TrainConfig:
    """The settings of a run from the form's values.

    Raises:
        SettingsError: the first value that cannot be used, with the name of its field.
    """
    if not dataset:
        raise SettingsError("dataset", words.DATASET_NONE)
    if not base_model.strip():
        raise SettingsError("base_model", words.MODEL_NONE)
    chosen = {"base_model": base_model.strip(), "dataset": dataset}
    return TrainConfig.parse(nested(values, task, profile) | chosen)


def read_config(text: bytes, base_model: str, dataset: str) -> TrainConfig:
    """A settings file; the model and data set of the form stand in where it names none.

    Raises:
        SettingsError: the file is not JSON, or a value cannot be used.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError("", words.LOAD_NOT_JSON) from None
    if not isinstance(values, dict):
        raise SettingsError("", words.LOAD_NOT_JSON)
    return TrainConfig.parse({"base_model": base_model, "dataset": dataset} | values)


def form_values(config: TrainConfig) -> Values:
    """The form's values for a config: the reverse of ``make_config``."""
    settings = config.to_json()
    targets = settings["lora"]["target_modules"]
    settings["lora"]["target_pattern"] = targets if isinstance(targets, str) else None
    values: Values = {}
    for field in FIELDS:
        place: Any = settings
        for part in field.name.split("."):
            place = place[part]
        values[field.name] = to_control(field, place)
    values[TARGETS] = None if isinstance(targets, str) else targets
    return values


@dataclass(frozen=True)
class Estimate:
    """How long a run is, before it starts."""

    train_rows: int
    validation_rows: int
    rows_per_update: int
    updates_per_epoch: int
    planned: int
    """Updates of all epochs."""
    updates: int
    """Updates after the limit, where there is one."""


def estimate(config: TrainConfig, rows: int) -> Estimate:
    """Count rows and updates as the engine will."""
    validation = min(round(rows * config.validation_share), max(rows - 1, 0))
    if config.validation_share and rows > 1:
        validation = max(validation, 1)
    train = rows - validation
    per_update = config.batch_size * config.gradient_accumulation_steps
    per_epoch = math.ceil(train / per_update)
    planned = max(1, math.ceil(config.epochs * per_epoch))
    updates = min(planned, config.max_steps) if config.max_steps else planned
    return Estimate(train, validation, per_update, per_epoch, planned, updates)


def pieces(config: TrainConfig, dataset: Dataset) -> int:
    """Rows as the engine counts them: plain text that is too long is learned in several, and how
    many is known roughly before its tokens are counted."""
    rows = min(dataset.rows, config.max_samples or dataset.rows)
    if dataset.task != "text" or not rows:
        return rows
    tokens = dataset.characters / CHARACTERS_A_TOKEN * rows / dataset.rows
    return max(rows, math.ceil(tokens / config.max_length))


def estimate_sentence(config: TrainConfig, rows: int) -> str:
    """``3 epochs of 9 updates (72 rows in batches of 8) = 27 updates``, and what is held back."""
    seen = estimate(config, rows)
    epochs = f"{config.epochs:g} {'epoch' if config.epochs == 1 else 'epochs'}"
    sentence = words.ESTIMATE.format(
        epochs=epochs,
        each=plural(seen.updates_per_epoch, "update"),
        rows=plural(seen.train_rows, "row"),
        batch=seen.rows_per_update,
        updates=plural(seen.planned, "update"),
    )
    extra = []
    if seen.updates < seen.planned:
        extra.append(words.ESTIMATE_LIMITED.format(updates=plural(seen.updates, "update")))
    if seen.validation_rows:
        held = plural(seen.validation_rows, "row")
        extra.append(words.ESTIMATE_VALIDATION.format(validation=held))
    return "; ".join([sentence, *extra])


def estimate_warning(config: TrainConfig, rows: int) -> str:
    """What to mind where a run is too small to teach much; empty where it is not."""
    seen = estimate(config, rows)
    if seen.train_rows < FEW_ROWS:
        return words.ESTIMATE_FEW_ROWS.format(rows=plural(seen.train_rows, "row"))
    if seen.updates < FEW_UPDATES:
        return words.ESTIMATE_FEW_UPDATES.format(updates=plural(seen.updates, "update"))
    return ""
