"""``train``: from a settings file to an adapter."""

import argparse
from pathlib import Path

from lora_engine.commands.common import Parsers, say
from lora_engine.config import TrainConfig
from lora_engine.progress import Progress


def add(parsers: Parsers) -> None:
    """Add the command."""
    parser = parsers.add("train", _train, "train an adapter")
    parser.add_argument("config", type=Path, metavar="CONFIG.json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    parser.add_argument(
        "--use-4bit", action="store_true", help="hold the frozen weights in 4 bits (NF4)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint")


def _train(options: argparse.Namespace) -> None:
    config = TrainConfig.read(options.config)
    if options.use_4bit:
        config = TrainConfig.parse(config.to_json() | {"quantization": "nf4"})
    from lora_engine.train import train

    train(
        config,
        options.out,
        _report,
        lambda: False,
        home=options.data_dir,
        resume=options.resume,
        device=options.device,
    )


def _report(progress: Progress) -> None:
    say(progress.model_dump_json(exclude_none=True))
