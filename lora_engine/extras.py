"""What only some settings need: the packages of the extra ``quantized`` (no torch)."""

from importlib.util import find_spec

from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError


def check_extras(config: TrainConfig) -> None:
    """Whether the packages are there that ``config`` needs.

    Raises:
        SettingsError: one is missing; ``field`` says for which setting.
    """
    if config.quantization != "none":
        need_bitsandbytes("quantization", instead="none")
    if config.optim == "adamw_8bit":
        need_bitsandbytes("optim", instead="adamw")


def need_bitsandbytes(setting: str, instead: str) -> None:
    """What ``setting`` asks for is bitsandbytes' work.

    Raises:
        SettingsError: it is not installed; ``instead`` is the value that does without.
    """
    if find_spec("bitsandbytes") is None:
        raise SettingsError(
            setting,
            f"This choice of {setting} needs the package bitsandbytes: install it with "
            f"`pip install -c constraints.txt -e .[quantized]`, or choose {instead}.",
        )
