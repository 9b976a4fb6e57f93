"""Every method by its name: the one place in which a new one is entered (no torch).

A name's code is the module of the same name in the folder that is said here. It is imported only
when it is used, so that the page and the queue know the methods by these lines alone.
"""

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple


class Training(NamedTuple):
    """What a method trains, and by which optimiser."""

    trains: Literal["pairs", "last layers", "everything"]
    optimizer: str = ""
    """Its own, ``optimizers/NAME.py``; empty means the one that ``TrainConfig.optim`` names."""


METHODS = {
    "lora": Training("pairs"),
    "freeze": Training("last layers"),
    "full": Training("everything"),
    "galore": Training("everything", "galore"),
}
"""``LoraConfig.method`` → what it trains."""


class Variant(NamedTuple):
    """A way in which a frozen layer's output and its pair become one."""

    title: str = ""
    """Its name in the field."""
    helps: str = ""
    """One sentence: what it does and when it helps."""
    vectors: tuple[str, ...] = ()
    """What it trains beside A and B, with a number for each output."""
    reads_weights: bool = False
    """Whether it starts from the base weights, which a start of A and B must then leave alone."""


VARIANTS = {
    "plain": Variant(),
    "dora": Variant(
        "DoRA",
        "Learns each output's size apart from its direction: often a little better at low ranks, "
        "and slower.",
        vectors=("lora_magnitude_vector",),
        reads_weights=True,
    ),
}
"""``lora/variants/NAME.py``, asked for by ``LoraConfig.use_NAME``."""

SWITCHES = {f"use_{name}": variant for name, variant in VARIANTS.items() if name != "plain"}
"""The settings that ask for a variant."""


class Start(NamedTuple):
    """How A and B begin."""

    choices: dict[str, str]
    """Settings that the page offers → what each is called there."""
    more: str = ""
    """A pattern of what may follow the name in ``LoraConfig.init_lora_weights``."""
    title: str = ""
    """Its name in the field, where it stands in a sentence."""
    beside_reading: bool = True
    """Whether it goes with a variant that begins from the base weights."""
    of_directions: bool = False
    """Whether the pair begins with directions of the weight itself, which the path subtracts: it
    needs the whole base, and is saved as a pair of twice the rank."""
    of_losses: bool = False
    """Whether it fits what quantisation has lost, and so needs a quantised base."""


STARTS = {
    "kaiming": Start({"kaiming": "Kaiming (the paper's)"}),
    "gaussian": Start({"gaussian": "Gaussian"}),
    "orthogonal": Start({"orthogonal": "Orthogonal"}, beside_reading=False),
    "pissa": Start(
        {"pissa": "PiSSA, exact", "pissa_niter_4": "PiSSA, fast"},
        more=r"(_niter_\d{1,2})?",
        title="PiSSA",
        beside_reading=False,
        of_directions=True,
    ),
    "loftq": Start(
        {"loftq": "LoftQ (with a quantised base)"},
        title="LoftQ",
        beside_reading=False,
        of_losses=True,
    ),
}
"""``lora/starts/NAME.py``, asked for by ``LoraConfig.init_lora_weights``."""

OPTIMIZERS = ("adamw", "adamw_8bit")
"""``optimizers/NAME.py``, as ``TrainConfig.optim`` has it; the names are transformers'."""

QUANTIZATIONS = {"nf4": "4 bits (NF4)", "int8": "8 bits"}
"""``quantization/NAME.py``, as ``TrainConfig.quantization`` has it → what a weight then takes."""

if TYPE_CHECKING:
    Method = str
    Optim = str
    Quantization = str
else:
    Method = Literal[*METHODS]
    Optim = Literal[*OPTIMIZERS]
    Quantization = Literal["none", *QUANTIZATIONS]


def start_named(setting: str) -> tuple[str, str]:
    """The start that ``init_lora_weights`` asks for, and what follows its name there.

    Raises:
        ValueError: there is no such start.
    """
    for name, start in STARTS.items():
        if re.fullmatch(name + start.more, setting):
            return name, setting.removeprefix(name)
    raise ValueError(f"init_lora_weights must be {', '.join(STARTS)}, but is {setting!r}")


def code_of(folder: str, name: str) -> Any:
    """The module of a method, such as ``lora/variants/dora.py``."""
    return import_module(f"lora_engine.{folder.replace('/', '.')}.{name}")
