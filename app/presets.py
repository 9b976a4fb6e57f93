"""Three sets of settings to start from; everything not named here keeps its default."""

from dataclasses import dataclass
from typing import Any

from lora_engine.profile import ModelProfile


@dataclass(frozen=True)
class Preset:
    """A named starting point. ``values`` maps dotted setting names to values."""

    key: str
    every_module: bool
    values: dict[str, Any]


QUICK_LOOK = Preset(
    "quick",
    every_module=False,
    values={
        "lora.r": 8,
        "lora.lora_alpha": 16,
        "lora.lora_dropout": 0.0,
        "epochs": 1,
        "max_steps": 20,
        "learning_rate": 2e-3,
        "batch_size": 4,
        "schedule": "linear",
        "max_length": 256,
        "load_best_model_at_end": False,
    },
)
BALANCED = Preset(
    "balanced",
    every_module=False,
    values={
        "lora.r": 8,
        "lora.lora_alpha": 16,
        "lora.lora_dropout": 0.05,
        "epochs": 3,
        "max_steps": None,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "schedule": "linear",
        "max_length": 512,
        "load_best_model_at_end": False,
    },
)
THOROUGH = Preset(
    "thorough",
    every_module=True,
    values={
        "lora.r": 16,
        "lora.lora_alpha": 32,
        "lora.lora_dropout": 0.1,
        "epochs": 4,
        "max_steps": None,
        "learning_rate": 5e-4,
        "batch_size": 4,
        "schedule": "cosine",
        "max_length": 1024,
        "load_best_model_at_end": True,
    },
)
LABELLED = {"batch_size": 16, "learning_rate": 2e-3, "max_length": 128}
"""Short texts with a label: larger batches and steps, as a head is learned from nothing."""
PRESETS = {preset.key: preset for preset in (QUICK_LOOK, BALANCED, THOROUGH)}
DEFAULT_PRESET = BALANCED


def preset_values(preset: Preset, profile: ModelProfile | None) -> dict[str, Any]:
    """The preset's settings for one model, the target modules by name."""
    values = dict(preset.values)
    if profile is not None:
        if profile.task == "classification":
            values |= LABELLED
        values["lora.target_modules"] = list(
            profile.linear_names if preset.every_module else profile.default_targets
        )
    return values


def known_modules(profile: ModelProfile) -> tuple[str, ...]:
    """Every adaptable module name, once, in the model's order."""
    return tuple(dict.fromkeys(group.name for group in profile.groups))


def matching_preset(values: dict[str, Any], profile: ModelProfile | None) -> str | None:
    """The preset whose settings these are, or None where the person made their own."""
    for preset in PRESETS.values():
        wanted = preset_values(preset, profile)
        if all(_same(values.get(name), value) for name, value in wanted.items()):
            return preset.key
    return None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return set(one) == set(other)
    return bool(one == other)
