"""What the commands share: their parsers, the options that repeat, and how they print."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_engine.catalog import DEFAULT_HOME
from lora_engine.finite import finite
from lora_engine.progress import Progress

if TYPE_CHECKING:
    from lora_engine.generate import Decoding

Run = Callable[[argparse.Namespace], None]
NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)
"""A number and no option; argparse by itself takes -1e-1 for one."""


class Parsers:
    """Makes the commands' parsers; every command has ``--data-dir``."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._shared = argparse.ArgumentParser(add_help=False)
        self._shared.add_argument(
            "--data-dir",
            type=Path,
            default=DEFAULT_HOME,
            help="where models and data sets are kept",
        )
        self._commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(self, name: str, run: Run, what: str, more: str = "") -> argparse.ArgumentParser:
        """A parser for the command ``name``, which does ``run``; ``more`` explains it."""
        made: argparse.ArgumentParser = self._commands.add_parser(
            name,
            parents=[self._shared],
            help=what,
            description=more or f"{what[0].upper()}{what[1:]}.",
        )
        made.set_defaults(command=run)
        made._negative_number_matcher = NEGATIVE
        return made


def takes_adapter(parser: argparse.ArgumentParser) -> None:
    """``--adapter``, an adapter's folder or zip."""
    parser.add_argument(
        "--adapter",
        type=Path,
        required=True,
        metavar="DIR_OR_ZIP",
        help="an adapter in PEFT's format, made here or elsewhere",
    )


def takes_base_model(parser: argparse.ArgumentParser) -> None:
    """``--base-model``, where it is not the one that the adapter names."""
    parser.add_argument(
        "--base-model",
        metavar="M",
        help="a starter id, folder or hub id; default: the one the adapter was made for",
    )


def takes_device(parser: argparse.ArgumentParser) -> None:
    """``--device``, to compute on."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")


def takes_decoding(parser: argparse.ArgumentParser) -> None:
    """``--max-new-tokens``, ``--temperature`` and ``--seed``: how answers are written."""
    parser.add_argument(
        "--max-new-tokens", type=int, default=128, metavar="N", help="longest answer; default: 128"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        metavar="T",
        help="0, the default, takes the likeliest token; higher ones draw more freely",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the drawing; the same for all answers"
    )


def decoding_of(options: argparse.Namespace) -> "Decoding":
    """What ``takes_decoding`` was given; raises SettingsError."""
    from lora_engine.generate import Decoding

    names = ("max_new_tokens", "temperature", "seed")
    return Decoding.parse({name: getattr(options, name) for name in names})


def takes_4bit(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """``--use-4bit`` and ``--no-4bit``; ``otherwise`` says what counts without them."""
    either = parser.add_mutually_exclusive_group()
    for flag, value, what in (
        ("--use-4bit", "nf4", "hold the frozen weights in 4 bits (NF4)"),
        ("--no-4bit", "none", "hold the frozen weights whole"),
    ):
        either.add_argument(
            flag,
            dest="quantization",
            action="store_const",
            const=value,
            help=f"{what}; default: {otherwise}",
        )


def gives_json(parser: argparse.ArgumentParser) -> None:
    """``--json``: one JSON object on standard output instead of text."""
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")


def say(text: str) -> None:
    """Print a result."""
    print(text, flush=True)  # noqa: T201


def say_json(values: Any) -> None:
    """Print a result as one line of JSON."""
    say(json.dumps(finite(values), ensure_ascii=False))


def tell(progress: Progress) -> None:
    """Print what is being done, apart from the result."""
    if progress.message:
        print(progress.message, file=sys.stderr)  # noqa: T201
