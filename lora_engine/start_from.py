"""Go on training from a finished adapter."""

from collections.abc import Sequence

from torch import nn

from lora_engine.adapter import Adapter, load_trained, without_base_copies
from lora_engine.config import LoraConfig
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.lora.inject import inject
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


def inject_and_load(
    model: nn.Module,
    start: Adapter,
    lora: LoraConfig,
    profile: ModelProfile,
    labels: Sequence[str] = (),
) -> None:
    """Inject ``lora`` into ``model``, as ``inject`` does, and begin with the tensors of ``start``.

    The run must ask for what the adapter is: the same modules with the same ranks and scalings,
    in whatever words. Neither side wins silently. ``labels`` are a classifier's, in order.

    Raises:
        SettingsError: the run asks for something else; the sentence says what the adapter has.
        AdapterError: lists every missing, surplus or misshapen tensor at once.
    """
    known = start.settings.labels
    if labels and known and tuple(labels) != known:
        raise SettingsError(
            "start_from",
            f"The adapter to start from knows the labels {', '.join(known)}, in this order, and "
            f"this data has {', '.join(labels)}.",
        )
    try:
        has_meaning = _meaning(start.lora, profile, finished=True)
    except SettingsError as error:
        raise AdapterError(f"The adapter to start from does not fit this model: {error}") from None
    if has_meaning != _meaning(lora, profile, finished=False):
        has, asked = start.lora.to_json(), lora.to_json()
        differ = ", ".join(f"{n}={has[n]!r}" for n in FIELDS if has[n] != asked[n])
        raise SettingsError(
            "start_from",
            f"The adapter to start from was made with {differ}: choose the same, or start anew.",
        )
    begun = {"init_lora_weights": start.lora.init_lora_weights}  # where PEFT's PiSSA counts from
    inject(model, lora.model_copy(update=begun), profile)
    load_trained(model, without_base_copies(model, start.tensors))


def _meaning(lora: LoraConfig, profile: ModelProfile, finished: bool) -> object:
    """What settings amount to on a model; equal for equal meanings."""
    if lora.method != "lora":
        is_part = METHODS[lora.method].trains == "last layers"
        return "weights", lora.freeze_trainable_layers if is_part else None
    if finished:
        # PEFT names every head that some family has, and only what the file has counts.
        names = tuple(n for n in lora.modules_to_save or () if profile.has_module(n))
        profile = profile.model_copy(update={"always_saved": ()})
        lora = lora.model_copy(update={"modules_to_save": names})
    pairs = {t.path: (t.r, lora.scaling_of(t.path)) for t in profile.adapted(lora)}
    return pairs, set(profile.saved_modules(lora)), lora.bias, lora.variant
