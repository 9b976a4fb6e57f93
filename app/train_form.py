"""Between the Train tab's values and a TrainConfig; pure functions."""

import json
import math
from dataclasses import dataclass
from typing import Any

from app.fields import FIELDS, TARGETS
from app.html import plural
from app.wording import train as words
from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError

Values = dict[str, Any]
"""Dotted setting name → value, as in ``lora.r``."""


def nested(values: Values) -> dict[str, Any]:
    """Dotted names → the nested JSON form of a TrainConfig.

    Raises:
        SettingsError: a number that is needed is empty.
    """
    settings: dict[str, Any] = {"lora": {}}
    optional = {field.name for field in FIELDS if field.optional}
    labels = {field.name: field.label for field in FIELDS}
    for name, value in values.items():
        if value is None and name in labels and name not in optional:
            raise SettingsError(name, words.EMPTY_NUMBER.format(label=labels[name]))
        place = settings
        *folders, last = name.split(".")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return settings


def make_config(values: Values, base_model: str, dataset: str) -> TrainConfig:
    """The settings of a run from the form's values.

    Raises:
        SettingsError: the first value that cannot be used, with the name of its field.
    """
    if not dataset:
        raise SettingsError("dataset", words.DATASET_NONE)
    if not base_model.strip():
        raise SettingsError("base_model", words.MODEL_NONE)
    settings = nested(values) | {"base_model": base_model.strip(), "dataset": dataset}
    return TrainConfig.parse(settings)


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
    values = {}
    for field in FIELDS:
        place: Any = settings
        for part in field.name.split("."):
            place = place[part]
        values[field.name] = place
    targets = config.lora.target_modules
    values[TARGETS] = None if targets is None else list(targets)
    return values


@dataclass(frozen=True)
class Estimate:
    """How long a run is, before it starts."""

    train_rows: int
    validation_rows: int
    rows_per_update: int
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
    planned = max(1, math.ceil(config.epochs * math.ceil(train / per_update)))
    updates = min(planned, config.max_steps) if config.max_steps else planned
    return Estimate(train, validation, per_update, planned, updates)


def estimate_sentence(config: TrainConfig, rows: int) -> str:
    """``3 epochs × 72 rows / 8 = 27 updates``, and what is held back."""
    seen = estimate(config, rows)
    epochs = f"{config.epochs:g} {'epoch' if config.epochs == 1 else 'epochs'}"
    sentence = words.ESTIMATE.format(
        epochs=epochs,
        rows=plural(seen.train_rows, "row"),
        batch=seen.rows_per_update,
        updates=plural(seen.planned, "update"),
    )
    extra = []
    if seen.updates < seen.planned:
        limited = words.ESTIMATE_LIMITED.format(updates=seen.updates, planned=seen.planned)
        sentence = sentence.rsplit(" = ", 1)[0]
        extra.append(limited)
    if seen.validation_rows:
        held = plural(seen.validation_rows, "row")
        extra.append(words.ESTIMATE_VALIDATION.format(validation=held))
    return "; ".join([sentence, *extra])
