"""What only some settings need: the packages of the extra ``quantized`` (no torch)."""

import sys
from importlib.util import find_spec
from pathlib import Path

from lora_engine.config import Quantization, TrainConfig
from lora_engine.errors import SettingsError
from lora_engine.registry import QUANTIZATIONS

ROOT = Path(__file__).parents[1]


def check_extras(config: TrainConfig) -> None:
    """Whether the packages are there that ``config`` needs.

    Raises:
        SettingsError: one is missing; ``field`` says for which setting.
    """
    if config.quantization != "none":
        check_base(config.quantization, "or choose none for quantization")
    if config.optim == "adamw_8bit":
        _need_bitsandbytes("optim", "8-bit AdamW", "or choose adamw")


def check_base(quantization: Quantization, instead: str = "") -> None:
    """Whether a base can be held on this machine as ``quantization`` says.

    Raises:
        SettingsError: the package for it is missing; ``instead`` says what else can be done.
    """
    if quantization != "none":
        _need_bitsandbytes("quantization", f"A base in {QUANTIZATIONS[quantization]}", instead)


def install_command() -> str:
    """What to type in the project's folder: the Python that runs this, which ``start.py`` keeps in
    ``.venv`` and which no ``pip`` of the system installs for."""
    python = Path(sys.executable)
    if python.is_relative_to(ROOT):
        python = python.relative_to(ROOT)
    program = f'"{python}"' if " " in str(python) else str(python)
    return f"{program} -m pip install -c constraints.txt bitsandbytes"


def _need_bitsandbytes(setting: str, what: str, instead: str) -> None:
    if find_spec("bitsandbytes") is None:
        raise SettingsError(
            setting,
            f"{what} needs the package bitsandbytes: in the project's folder run "
            f"`{install_command()}`" + (f", {instead}." if instead else "."),
        )
