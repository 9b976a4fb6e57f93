"""Go on training from a finished adapter."""

from collections.abc import Sequence

from torch import nn

from lora_engine.adapter import Adapter, load_trained, without_base_copies
from lora_engine.config import LoraConfig
from lora_engine.continued import check_same
from lora_engine.errors import SettingsError
from lora_engine.lora.inject import inject
from lora_engine.profile import ModelProfile


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
    check_same(start.lora, lora, profile)
    begun = {"init_lora_weights": start.lora.init_lora_weights}  # where PEFT's PiSSA counts from
    inject(model, lora.model_copy(update=begun), profile)
    load_trained(model, without_base_copies(model, start.tensors))
