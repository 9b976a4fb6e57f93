"""``export``: an adapter as a full model, or as a file for llama.cpp and Ollama."""

import argparse
from pathlib import Path

from pydantic import BaseModel

from lora_engine.commands.common import (
    Parsers,
    gives_json,
    say,
    say_json,
    takes_adapter,
    takes_base_model,
    tell,
)


def add(parsers: Parsers) -> None:
    """Add the command."""
    parser = parsers.add(
        "export",
        _export,
        "a full model, or a file for llama.cpp and Ollama",
        "Write base and adapter as one model, which is checked to answer as the two apart, or the "
        "adapter alone as a GGUF file with a Modelfile.",
    )
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
    parser.add_argument(
        "--dtype",
        default="base",
        choices=("base", "float32", "bfloat16"),
        help="merged: number format of the weights; default: as the base model's",
    )
    parser.add_argument(
        "--max-shard-size", default="5GB", metavar="SIZE", help="merged: largest file, as 500MB"
    )
    gives_json(parser)


def _export(options: argparse.Namespace) -> None:
    where = {"home": options.data_dir, "base_model": options.base_model}
    if options.format == "gguf":
        from lora_engine.gguf_export import export_gguf

        file = export_gguf(options.adapter, options.out, **where)
        _say(options, file, f"{file.sentence}\n{file.file}\n{file.modelfile}")
        return
    from lora_engine.export import Form, export_merged

    form = Form(options.dtype, options.max_shard_size)
    model = export_merged(options.adapter, options.out, **where, report=tell, form=form)
    _say(options, model, "\n".join(filter(None, (model.sentence, model.note, model.folder))))


def _say(options: argparse.Namespace, report: BaseModel, text: str) -> None:
    if options.json:
        say_json(report.model_dump(mode="json"))
    else:
        say(text)
