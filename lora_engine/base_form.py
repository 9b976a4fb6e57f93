"""How the base of finished adapters is held in memory: as it was when they were trained (no torch).

A quantised base is another model than the untouched one: an adapter has learned beside its errors,
and where memory is short it is the only one that fits.
"""

from collections.abc import Sequence

from lora_engine.adapter_config import AdapterSettings
from lora_engine.config import LoraConfig, Quantization
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.registry import QUANTIZATIONS


def base_form(adapters: Sequence[AdapterSettings]) -> Quantization:
    """The quantisation of the one base on which ``adapters`` answer side by side.

    It is the one that they were trained on. With several, an adapter would answer otherwise
    beside another one than alone, and the base's answers would be those of one of them only.

    Raises:
        WorkbenchError: they were trained on several, or on one that is not known here or that
            cannot carry one of them.
    """
    forms = list(dict.fromkeys(settings.quantization for settings in adapters)) or ["none"]
    if unknown := [form for form in forms if form not in ("none", *QUANTIZATIONS)]:
        raise AdapterError(
            f"An adapter was trained on a base quantised as {unknown[0]!r}, which is unknown here."
        )
    if len(forms) > 1:
        said = " and ".join(QUANTIZATIONS.get(form, "not quantised") for form in forms)
        raise AdapterError(
            f"These adapters were trained on different forms of the base, {said}, and each answers "
            "as trained only on its own: compare those of one form."
        )
    for settings in adapters:
        check_carries(forms[0], settings.lora)
    return forms[0]


def check_carries(quantization: Quantization, lora: LoraConfig) -> None:
    """Whether an adapter can be put on a base that is held as ``quantization`` says.

    Raises:
        SettingsError: it changes or reads weights that are then there in few bits only.
    """
    if quantization != "none" and (name := lora.needs_whole_base):
        raise SettingsError("quantization", f"{name} needs weights that are not quantised.")
