"""Whether a run asks for what the adapter is that it begins with; known without any tensor."""

from lora_engine.config import LoraConfig
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.profile import ModelProfile
from lora_engine.registry import METHODS, SWITCHES

FIELDS = (
    "method",
    "r",
    "lora_alpha",
    "target_modules",
    "bias",
    "modules_to_save",
    "use_rslora",
    *SWITCHES,
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "freeze_trainable_layers",
)
"""What decides which tensors there are and what they mean. Dropout, learning rates and the rest
are the new run's own."""


def check_same(has: LoraConfig, asked: LoraConfig, profile: ModelProfile) -> None:
    """Refuse settings that mean another adapter on a model than the one that is there.

    Args:
        has: what the adapter to start from was made with.
        asked: the run's own settings, in whatever words.
        profile: the base model.

    Raises:
        SettingsError: the run asks for something else; the sentence says what the adapter has.
        AdapterError: the adapter does not fit the model.
    """
    try:
        has_meaning = _meaning(has, profile, finished=True)
    except SettingsError as error:
        raise AdapterError(f"The adapter to start from does not fit this model: {error}") from None
    if has_meaning != _meaning(asked, profile, finished=False):
        made, wanted = has.to_json(), asked.to_json()
        differ = ", ".join(f"{n}={made[n]!r}" for n in FIELDS if made[n] != wanted[n])
        raise SettingsError(
            "start_from",
            f"The adapter to start from was made with {differ}: choose the same, or start anew.",
        )


def _meaning(lora: LoraConfig, profile: ModelProfile, finished: bool) -> object:
    """What settings amount to on a model; equal for equal meanings."""
    if lora.method != "lora":
        is_part = METHODS[lora.method].trains == "last layers"
        return "weights", lora.freeze_trainable_layers if is_part else None
    if finished:
        # PEFT names every head that some family has, and only what the file has counts.
        names = tuple(n for n in lora.modules_to_save or () if profile.has_module(n))
        profile = profile.model_copy(update={"always_saved": ()})
        lora = profile.matching(lora).model_copy(update={"modules_to_save": names})
    pairs = {t.path: (t.r, lora.scaling_of(t.path)) for t in profile.adapted(lora)}
    return pairs, set(profile.saved_modules(lora)), lora.bias, lora.variant
