"""``predict``: let an adapter answer a whole file."""

import argparse
from pathlib import Path

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
    tell,
)


def add(parsers: Parsers) -> None:
    """Add the command."""
    parser = parsers.add(
        "predict",
        _predict,
        "answer a whole file",
        "Write an adapter's answer (or label) beside each row of a file, with scores where the "
        "file has the expected ones. Ctrl-C leaves the rows that are done.",
    )
    takes_adapter(parser)
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help="rows to answer, with or without answers; or the id of a kept data set",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="a new file for rows and answers: .csv (Excel opens it) or .jsonl",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="answer the first N rows; default: all"
    )
    parser.add_argument(
        "--with-base", action="store_true", help="the base model's answers in columns beside"
    )
    takes_base_model(parser)
    takes_decoding(parser)
    takes_4bit(parser, "as the adapter was trained")
    takes_device(parser)
    gives_json(parser)


def _predict(options: argparse.Namespace) -> None:
    from lora_engine.predict import Order, predict

    how = options.limit, options.with_base
    order = Order(options.data, options.out, decoding_of(options), *how)
    found = predict(
        options.adapter,
        order,
        home=options.data_dir,
        report=tell,
        base_model=options.base_model,
        device=options.device,
        quantization=options.quantization,
    )
    if options.json:
        say_json(found.model_dump(mode="json"))
    else:
        say(f"{found.sentence}\n{found.out}")
