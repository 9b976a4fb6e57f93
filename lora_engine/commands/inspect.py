"""``inspect``: what of a model can be adapted, exact counts, and every tensor."""

import argparse
import math
from pathlib import Path

from lora_engine.catalog import is_starter
from lora_engine.commands.common import Parsers, gives_json, say, say_json
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import ParameterCount, count_parameters
from lora_engine.errors import SettingsError
from lora_engine.profile import ALL_LINEAR, ModelProfile
from lora_engine.registry import SWITCHES
from lora_engine.table import TensorRow, filtered, tensor_table

MOST_LABELS = 100_000


def add(parsers: Parsers) -> None:
    """Add the command."""
    parser = parsers.add(
        "inspect",
        _inspect,
        "what can be adapted, counted",
        "List the modules of a model that can be adapted and count exactly what would be trained, "
        "from the model's config alone; with --tensors every tensor by name, shape and dtype.",
    )
    parser.add_argument(
        "--model", required=True, metavar="M", help="a starter id, a folder or a hub id"
    )
    parser.add_argument(
        "--task",
        choices=("chat", "classification", "seq2seq"),
        help="default: what the model was made for",
    )
    parser.add_argument(
        "--labels",
        type=int,
        default=2,
        metavar="N",
        help="how many classes a classifier has; default: 2",
    )
    parser.add_argument("--r", type=int, default=8, metavar="R", help="the rank; default: 8")
    parser.add_argument(
        "--target-modules",
        nargs="+",
        metavar="NAME",
        help="modules to adapt; default: the model's usual ones, query and value",
    )
    parser.add_argument(
        "--bias",
        default="none",
        choices=("none", "all", "lora_only"),
        help="bias vectors that are trained as well; default: none",
    )
    parser.add_argument(
        "--modules-to-save",
        nargs="+",
        metavar="NAME",
        help="modules that are trained whole and saved with the adapter",
    )
    for name, variant in SWITCHES.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", action="store_true", help=f"with {variant.title}"
        )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="CONFIG.json",
        help="count with the lora settings of this file, in place of those above",
    )
    parser.add_argument("--tensors", action="store_true", help="every tensor, one a line")
    parser.add_argument("--after", action="store_true", help="with --tensors: after injection")
    parser.add_argument(
        "--filter", default="", metavar="TEXT", help="with --tensors: text or pattern in the name"
    )
    gives_json(parser)


def _inspect(options: argparse.Namespace) -> None:
    if not 2 <= options.labels <= MOST_LABELS:
        raise SettingsError(
            "labels", f"labels must be from 2 to {MOST_LABELS:,}, but is {options.labels}."
        )
    profile = _profile(options)
    if options.config:
        lora = TrainConfig.read(options.config, {"base_model": options.model}).lora
    else:
        names = ("r", "target_modules", "bias", "modules_to_save", *SWITCHES)
        given = {name: getattr(options, name) for name in names}
        if given["target_modules"] == [ALL_LINEAR]:
            given["target_modules"] = ALL_LINEAR
        lora = LoraConfig.parse(given)
    if options.tensors:
        rows = filtered(tensor_table(profile, lora if options.after else None), options.filter)
        _say_tensors(rows, options.json)
        return
    count = count_parameters(profile, lora)
    if options.json:
        say_json({"profile": profile.model_dump(mode="json"), **count.model_dump(mode="json")})
    else:
        say(_table(profile, lora, count))


def _say_tensors(rows: list[TensorRow], as_json: bool) -> None:
    if as_json:
        say_json({"tensors": [row._asdict() for row in rows]})
        return
    numbers = [math.prod(row.shape) for row in rows]
    trained = sum(n for n, row in zip(numbers, rows, strict=True) if row.trainable)
    say("\n".join(map(str, rows)))
    tensors = "1 tensor" if len(rows) == 1 else f"{len(rows)} tensors"
    say(f"{tensors}, {sum(numbers):,} parameters, {trained:,} of them trainable")


def _profile(options: argparse.Namespace) -> ModelProfile:
    """A starter's shipped profile, else one made here from the model's config."""
    from lora_engine import catalog

    model, home, task = options.model, options.data_dir, options.task
    if is_starter(model):
        return catalog.profile(model, home, task=task, num_labels=options.labels)
    from lora_engine.inspection import build_profile

    return build_profile(catalog.config_folder(model, home), model, task, options.labels)


def _table(profile: ModelProfile, lora: LoraConfig, count: ParameterCount) -> str:
    lines = [f"{profile.base_model} ({profile.architecture})", ""]
    lines.append(f"{'module':<20}{'kind':<10}{'how many':>10}{'each':>14}{'trainable':>16}")
    lines += [
        f"{m.name:<20}{m.kind:<10}{m.count:>10}{m.each:>14,}{m.trainable:>16,}"
        for m in count.by_module
    ]
    lines += ["", *profile.notes]
    setting = f"r={lora.r}" if lora.method == "lora" else lora.method
    lines.append(
        f"{setting}: trainable params: {count.trainable:,} || all params: {count.total:,} "
        f"|| trainable%: {count.percent:.4f} || adapter: {count.adapter_mb:.2f} MB"
    )
    return "\n".join(lines)
