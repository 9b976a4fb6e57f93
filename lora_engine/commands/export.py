"""``export``: an adapter as a full model, or as a file for llama.cpp and Ollama."""

import argparse
from pathlib import Path

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
    parser = parsers.add("export", _export, "a full model, or a file for llama.cpp and Ollama")
    takes_adapter(parser)
    parser.add_argument(
        "--format",
        required=True,
        choices=("merged", "gguf"),
        help="merged: base and adapter as one model folder; gguf: the adapter alone, a Modelfile",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="merged: a new folder; gguf: a file that ends in .gguf, or a folder",
    )
    takes_base_model(parser)
    gives_json(parser)


def _export(options: argparse.Namespace) -> None:
    if options.format == "gguf":
        from lora_engine.gguf_export import export_gguf

        found = export_gguf(
            options.adapter, options.out, home=options.data_dir, base_model=options.base_model
        )
        if options.json:
            say_json(found.model_dump(mode="json"))
        else:
            say(f"{found.sentence}\n{found.file}\n{found.modelfile}")
        return
    from lora_engine.export import export_merged

    export_merged(
        options.adapter, options.out, home=options.data_dir, base_model=options.base_model
    )
