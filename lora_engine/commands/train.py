"""``train``: from a settings file to an adapter."""

import argparse
from pathlib import Path

from lora_engine.commands.common import Parsers, say, takes_4bit, takes_device, tell
from lora_engine.config import TrainConfig
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.lack_of_memory import is_out_of_memory, out_of_memory
from lora_engine.progress import Progress


def add(parsers: Parsers) -> None:
    """Add the command."""
    parser = parsers.add(
        "train",
        _train,
        "train an adapter",
        "Train what a settings file says. Standard output has one JSON object of progress a line, "
        "standard error the scores at the end. DIR then holds adapter.zip, the same as a folder "
        "adapter/, and a checkpoint.",
    )
    parser.add_argument(
        "config",
        type=Path,
        metavar="CONFIG.json",
        help="the settings; only base_model and dataset have no default",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where adapter and checkpoint go"
    )
    parser.add_argument(
        "--base-model", metavar="M", help="in place of the file's: a starter id, folder or hub id"
    )
    parser.add_argument("--dataset", metavar="FILE", help="in place of the file's: rows to learn")
    parser.add_argument(
        "--test-dataset", metavar="FILE", help="in place of the file's: rows to measure with"
    )
    takes_4bit(parser, "as the settings say")
    parser.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint")
    takes_device(parser)


def _train(options: argparse.Namespace) -> None:
    names = ("base_model", "dataset", "test_dataset", "quantization")
    given = {name: getattr(options, name) for name in names}
    replaced = {name: value for name, value in given.items() if value is not None}
    config = TrainConfig.read(options.config, replaced)
    if not options.resume and (options.out / "adapter.zip").exists():
        raise AdapterError(
            f"{options.out} has an adapter already: choose a new folder, or --resume to go on."
        )
    from lora_engine.outcome import told_scores
    from lora_engine.train import train

    try:
        result = train(
            config,
            options.out,
            _report,
            lambda: False,
            home=options.data_dir,
            resume=options.resume,
            device=options.device,
        )
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise SettingsError("", out_of_memory(config)) from None
        raise
    for sentence in told_scores(result.metrics):
        tell(Progress(phase="evaluating", message=sentence))


def _report(progress: Progress) -> None:
    say(progress.model_dump_json(exclude_none=True))
