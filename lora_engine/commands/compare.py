"""``compare``: a base model's answer and an adapter's, side by side."""

import argparse

from lora_engine.commands.common import (
    Parsers,
    gives_json,
    say,
    say_json,
    takes_adapter,
    takes_base_model,
)


def add(parsers: Parsers) -> None:
    """Add the command."""
    parser = parsers.add("compare", _compare, "base and adapted answers")
    takes_adapter(parser)
    parser.add_argument("--prompt", required=True, metavar="TEXT")
    takes_base_model(parser)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="factor on what the adapter adds: 0 is the base, 1 as trained, 1.5 more of it",
    )
    parser.add_argument("--device", default="auto")
    gives_json(parser)


def _compare(options: argparse.Namespace) -> None:
    from lora_engine.compare import compare
    from lora_engine.generate import Decoding

    decoding = Decoding.parse(
        {
            "max_new_tokens": options.max_new_tokens,
            "temperature": options.temperature,
            "seed": options.seed,
        }
    )
    answers = compare(
        options.adapter,
        options.prompt,
        decoding,
        home=options.data_dir,
        base_model=options.base_model,
        strength=options.strength,
        device=options.device,
    )
    if options.json:
        say_json(answers)
    else:
        say(f"base:\n{answers['base']}\n\nadapted:\n{answers['adapted']}")
