"""The command line: train, inspect, compare, export."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lora_engine.catalog import DEFAULT_HOME, is_starter
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.errors import WorkbenchError
from lora_engine.profile import ModelProfile, ParameterCount, count_parameters
from lora_engine.progress import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 1 with one sentence on stderr."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except WorkbenchError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lora_engine", description=__doc__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--data-dir", type=Path, default=DEFAULT_HOME, help="where models and data sets are kept"
    )
    commands = parser.add_subparsers(required=True)

    train = commands.add_parser("train", parents=[shared], help="train an adapter")
    train.add_argument("config", type=Path, metavar="CONFIG.json")
    train.add_argument("--out", type=Path, required=True, metavar="DIR")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    train.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint")
    train.set_defaults(command=_train)

    inspect = commands.add_parser("inspect", parents=[shared], help="what can be adapted, counted")
    inspect.add_argument("--model", required=True, help="a starter id, a folder or a hub id")
    inspect.add_argument("--r", type=int, default=8)
    inspect.add_argument("--target-modules", nargs="+", metavar="NAME")
    inspect.add_argument("--bias", default="none", choices=("none", "all", "lora_only"))
    inspect.add_argument("--json", action="store_true")
    inspect.set_defaults(command=_inspect)

    compare = commands.add_parser("compare", parents=[shared], help="base and adapted answers")
    compare.add_argument("--adapter", type=Path, required=True, metavar="DIR_OR_ZIP")
    compare.add_argument("--prompt", required=True, metavar="TEXT")
    compare.add_argument("--base-model", help="default: the one the adapter was made for")
    compare.add_argument("--max-new-tokens", type=int, default=128)
    compare.add_argument("--temperature", type=float, default=0.0)
    compare.add_argument("--seed", type=int, default=0)
    compare.add_argument("--strength", type=float, default=1.0)
    compare.add_argument("--device", default="auto")
    compare.add_argument("--json", action="store_true")
    compare.set_defaults(command=_compare)

    export = commands.add_parser("export", parents=[shared], help="merge into a full model")
    export.add_argument("--adapter", type=Path, required=True, metavar="DIR_OR_ZIP")
    export.add_argument("--format", required=True, choices=("merged",))
    export.add_argument("--out", type=Path, required=True, metavar="PATH")
    export.add_argument("--base-model", help="default: the one the adapter was made for")
    export.set_defaults(command=_export)
    return parser


def _train(options: argparse.Namespace) -> None:
    config = TrainConfig.read(options.config)
    from lora_engine.train import train

    def report(progress: Progress) -> None:
        print(progress.model_dump_json(exclude_none=True), flush=True)  # noqa: T201

    train(
        config,
        options.out,
        report,
        lambda: False,
        home=options.data_dir,
        resume=options.resume,
        device=options.device,
    )


def _inspect(options: argparse.Namespace) -> None:
    profile = _profile(options.model, options.data_dir)
    lora = LoraConfig.parse(
        {"r": options.r, "target_modules": options.target_modules, "bias": options.bias}
    )
    count = count_parameters(profile, lora)
    if options.json:
        _print_json({"profile": profile.model_dump(mode="json"), **count.model_dump(mode="json")})
    else:
        print(_table(profile, lora, count))  # noqa: T201


def _profile(model: str, home: Path) -> ModelProfile:
    """A starter's shipped profile, else one made here from the model's config."""
    from lora_engine import catalog

    if is_starter(model):
        return catalog.profile(model, home)
    from lora_engine.inspection import build_profile

    return build_profile(catalog.config_folder(model, home), model)


def _table(profile: ModelProfile, lora: LoraConfig, count: ParameterCount) -> str:
    lines = [f"{profile.base_model} ({profile.architecture})", ""]
    lines.append(f"{'module':<20}{'kind':<10}{'how many':>10}{'each':>14}{'trainable':>16}")
    lines += [
        f"{m.name:<20}{m.kind:<10}{m.count:>10}{m.each:>14,}{m.trainable:>16,}"
        for m in count.by_module
    ]
    lines.append("")
    lines.append(
        f"r={lora.r}: trainable params: {count.trainable:,} || all params: {count.total:,} "
        f"|| trainable%: {count.percent:.4f} || adapter: {count.adapter_mb:.2f} MB"
    )
    return "\n".join(lines)


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
        _print_json(answers)
    else:
        print(f"base:\n{answers['base']}\n\nadapted:\n{answers['adapted']}")  # noqa: T201


def _export(options: argparse.Namespace) -> None:
    from lora_engine.export import export_merged

    export_merged(
        options.adapter, options.out, home=options.data_dir, base_model=options.base_model
    )


def _print_json(values: object) -> None:
    print(json.dumps(values, ensure_ascii=False))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
