"""``compare``: a base model's answer and an adapter's, side by side."""

import argparse

from lora_engine.commands.common import (
    Parsers,
    decoding_of,
    gives_json,
    say,
    say_json,
    takes_4bit,
    takes_adapter,
    takes_base_model,
    takes_decoding,
    takes_device,
)
from lora_engine.registry import QUANTIZATIONS


def add(parsers: Parsers) -> None:
    """Add the command."""
    parser = parsers.add("compare", _compare, "base and adapted answers")
    takes_adapter(parser)
    parser.add_argument(
        "--prompt",
        required=True,
        metavar="TEXT",
        help="what is asked; a classifier's second text follows after a tab",
    )
    takes_base_model(parser)
    takes_decoding(parser)
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        metavar="S",
        help="factor on what the adapter adds: 0 is the base, 1 as trained, 1.5 more of it",
    )
    takes_4bit(parser, "as the adapter was trained")
    takes_device(parser)
    gives_json(parser)


def _compare(options: argparse.Namespace) -> None:
    from lora_engine.compare import compare

    answers = compare(
        options.adapter,
        options.prompt,
        decoding_of(options),
        home=options.data_dir,
        base_model=options.base_model,
        strength=options.strength,
        device=options.device,
        quantization=options.quantization,
    )
    if options.json:
        say_json(answers)
    else:
        said = {side: as_text(answers[side]) for side in ("base", "adapted")}
        held = QUANTIZATIONS.get(answers["quantization"])
        base = f"base, in {held}" if held else "base"
        say(f"{base}:\n{said['base']}\n\nadapted:\n{said['adapted']}")


def as_text(answer: str | dict[str, float]) -> str:
    """A text as it is, a classifier's labels a line each, the likeliest first."""
    if isinstance(answer, str):
        return answer
    likeliest = sorted(answer.items(), key=lambda item: -item[1])
    return "\n".join(f"{share:>7.1%}  {label}" for label, share in likeliest)
