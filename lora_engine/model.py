"""Load a base model and its tokenizer from a folder: safetensors only, no code from the folder."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from lora_engine.config import Precision, Quantization
from lora_engine.errors import ModelError, SettingsError, first_line
from lora_engine.inspection import AUTO_CLASSES, meta_model
from lora_engine.quantization import (
    is_quantized,
    keep_trainable,
    of_plain_layers,
    quantization_settings,
)

CARD = "card"
"""The device of a machine whose graphics card is meant: as ``auto``, but a run says so where torch
cannot use the card."""

FAST_BF16 = ("amx_bf16", "avx512_bf16", "bf16")
"""Names, as torch.cpu.get_capabilities has them, of instructions for bf16 products."""

log = logging.getLogger(__name__)


def choose_device(wanted: str = "auto") -> torch.device:
    """The device to work on: what Accelerate finds for ``auto`` or ``card``, where it works and
    else the CPU; or the one that is named, such as ``cpu`` or ``cuda:1``.

    Raises:
        ModelError: this machine has no device of that name.
    """
    if wanted not in ("auto", CARD):
        try:
            device = torch.device(wanted)
            torch.zeros(1, device=device).item()  # the meta device holds nothing
        except (RuntimeError, AssertionError):
            raise ModelError(f"This machine has no device named {wanted!r}; try cpu.") from None
        return device
    found: torch.device = Accelerator().device
    try:
        torch.ones(1, device=found).add_(1).item()  # a card may be older than torch's kernels
    except RuntimeError as error:
        log.warning("%s cannot be used, so this is done on the CPU: %s", found, error)
        return torch.device("cpu")
    return found


def choose_dtype(
    precision: Precision, device: torch.device, trains_weights: bool = False
) -> torch.dtype:
    """The dtype of the weights and of the arithmetic; ``auto`` is bf16 only where it is fast and
    the weights stay frozen (small updates vanish in bf16).

    That is a CUDA device with native bf16, or a CPU with instructions for bf16 products.
    """
    if precision == "fp32" or (precision == "auto" and trains_weights):
        return torch.float32
    if precision == "bf16" or _has_fast_bf16(device):
        return torch.bfloat16
    return torch.float32


def dtype_for_answers(device: torch.device) -> torch.dtype:
    """float32 on a CPU, where other tools answer in it as well; bf16 where the device likes it."""
    return torch.float32 if device.type == "cpu" else choose_dtype("auto", device)


def load_base(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    quantization: Quantization = "none",
    *,
    task: str = "chat",
    **config: Any,
) -> PreTrainedModel:
    """The model in ``folder`` with the head for ``task``, frozen, in evaluation mode.

    ``config`` changes settings of the model's own config, such as ``num_labels``.

    Raises:
        ModelError: the folder's files do not make a model.
        SettingsError: none of it can be held as ``quantization`` says.
    """
    model, _ = load_with_missing(folder, device, dtype, quantization, task=task, **config)
    return model


def load_with_missing(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    quantization: Quantization = "none",
    *,
    task: str,
    **config: Any,
) -> tuple[PreTrainedModel, frozenset[str]]:
    """As ``load_base``, with the names of the parameters that the folder does not have."""
    disable_progress_bar()  # the page has its own
    options: dict[str, Any] = {}
    shape = None
    if quantization != "none":
        shape = meta_model(folder, task, config.get("num_labels", 2))
        settings = quantization_settings(quantization, dtype, shape)
        options = {"quantization_config": settings, "device_map": {"": device}}
    try:
        with nullcontext() if shape is None else of_plain_layers(shape):
            model, loaded = AUTO_CLASSES[task].from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
                **config,
            )
    except torch.OutOfMemoryError:
        raise  # a quantised model is loaded onto the card; what to do then is known elsewhere
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"The model in {folder} cannot be loaded: {first_line(error)}") from error
    if shape is not None and not any(map(is_quantized, model.modules())):
        raise SettingsError("quantization", "No layer of this model can be held in few bits.")
    if not options:  # a quantised model is on its device already and cannot be moved
        model.to(device)
    keep_trainable(model)
    model.requires_grad_(False).eval()
    missing = {*loaded["missing_keys"], *(key[0] for key in loaded["mismatched_keys"])}
    return model, frozenset(missing)


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer in ``folder``; raises ModelError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The tokenizer in {folder} cannot be loaded: {first_line(error)}"
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"The model in {folder} has no tokenizer.json, which is needed here.")
    return tokenizer


def padding_id(tokenizer: Any) -> int:
    """The token that fills shorter rows; the end token where the tokenizer has none for it."""
    found = tokenizer.pad_token_id
    return int(found if found is not None else tokenizer.eos_token_id or 0)


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).major >= 8  # asked of this card
    if device.type == "cpu":
        return any(torch.cpu.get_capabilities().get(name) for name in FAST_BF16)
    return False
