"""``export``: an adapter as a full model or as a file for other programs."""

import argparse
from pathlib import Path

from lora_engine.commands.common import Parsers, takes_adapter, takes_base_model


def add(parsers: Parsers) -> None:
    """Add the command."""
    parser = parsers.add("export", _export, "merge into a full model")
    takes_adapter(parser)
    parser.add_argument("--format", required=True, choices=("merged",))
    parser.add_argument("--out", type=Path, required=True, metavar="PATH")
    takes_base_model(parser)


def _export(options: argparse.Namespace) -> None:
    from lora_engine.export import export_merged

    export_merged(
        options.adapter, options.out, home=options.data_dir, base_model=options.base_model
    )
