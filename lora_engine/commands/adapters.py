"""``check``, ``ranks``, ``shrink``, ``combine``: look into adapters and make new ones of them."""

import argparse
from pathlib import Path

from lora_engine.commands.common import (
    Parsers,
    gives_json,
    say,
    say_json,
    takes_adapter,
    takes_base_model,
    takes_device,
    tell,
)


def add(parsers: Parsers) -> None:
    """Add the commands."""
    check = parsers.add(
        "check",
        _check,
        "whether an adapter fits its base model",
        "Say whether an adapter fits its base model; every missing, surplus or misshapen tensor "
        "is named at once. No weights of the base are needed.",
    )
    takes_adapter(check)
    takes_base_model(check)
    gives_json(check)

    ranks = parsers.add(
        "ranks",
        _ranks,
        "how much of its rank an adapter uses",
        "Print the singular values of what each module learned, and the ranks that hold 90 % and "
        "99 % of it.",
    )
    takes_adapter(ranks)
    gives_json(ranks)

    shrink = parsers.add(
        "shrink",
        _shrink,
        "cut an adapter to a smaller rank",
        "Cut an adapter to a smaller rank by SVD, and measure the loss before and after on the "
        "rows that its run held out.",
    )
    takes_adapter(shrink)
    shrink.add_argument("--r", type=int, required=True, metavar="R", help="the new rank")
    _makes_adapter(shrink)
    shrink.add_argument(
        "--no-measure", action="store_true", help="do not take the loss before and after"
    )
    takes_device(shrink)
    gives_json(shrink)

    combine = parsers.add("combine", _combine, "add adapters of one base model up into one")
    combine.add_argument(
        "--adapters",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR_OR_ZIP",
        help="two or more, of the same base model",
    )
    combine.add_argument(
        "--weights", type=float, nargs="+", required=True, metavar="W", help="a factor for each"
    )
    combine.add_argument(
        "--method",
        default="svd",
        choices=("svd", "cat", "linear"),
        help="svd: best of rank R; cat: exact, ranks add up; linear: rough, keeps the rank",
    )
    combine.add_argument(
        "--r", type=int, metavar="R", help="rank of the result with svd; default: the largest"
    )
    _makes_adapter(combine)
    gives_json(combine)


def _makes_adapter(parser: argparse.ArgumentParser) -> None:
    """``--out``, where the new adapter goes."""
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR_OR_ZIP",
        help="the new adapter: a folder, or a file that ends in .zip",
    )


def _check(options: argparse.Namespace) -> None:
    from lora_engine.fits import check_fit

    found = check_fit(options.adapter, options.base_model, options.data_dir)
    if options.json:
        say_json(found.model_dump(mode="json"))
    else:
        say(found.sentence)


def _ranks(options: argparse.Namespace) -> None:
    from lora_engine.ranks import rank_report

    found = rank_report(options.adapter)
    if options.json:
        say_json(found.model_dump(mode="json"))
        return
    say(f"{'module':<60}{'r':>5}{'90 %':>6}{'99 %':>6}  largest singular values")
    for module in found.modules:
        values = " ".join(f"{value:.3g}" for value in module.singular_values[:6])
        say(f"{module.name:<60}{module.r:>5}{module.rank_90:>6}{module.rank_99:>6}  {values}")
    say("\n".join(("", found.sentence, *found.notes)))


def _shrink(options: argparse.Namespace) -> None:
    from lora_engine.shrink import shrink

    found = shrink(
        options.adapter,
        options.r,
        options.out,
        home=options.data_dir,
        report=tell,
        measure=not options.no_measure,
        device=options.device,
    )
    if options.json:
        say_json(found.model_dump(mode="json"))
    else:
        say(found.sentence)


def _combine(options: argparse.Namespace) -> None:
    from lora_engine.combine import combine

    found = combine(
        options.adapters, options.weights, options.out, method=options.method, r=options.r
    )
    if options.json:
        say_json(found.model_dump(mode="json"))
    else:
        say("\n".join((found.sentence, *found.notes)))
