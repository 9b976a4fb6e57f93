"""Our training loop against transformers' Trainer with peft.

Same rows in the same order, the same start of A and B, the same settings, each side in a process
of its own, in turns. Speed is real (unpadded) tokens a second, from the end of the first update.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.report import Bar, at_least, at_most, markdown, median, parser, within, write

DATA = Path(__file__).parents[1].parent / "shared" / "data"
PRECISIONS = ("fp32", "bf16-autocast", "bf16-weights")
"""What the reference can be asked for; its best is found by trying each for three updates."""
CHAT = "smollm2-135m-instruct"
EVERY_LINEAR = "all-linear"


@dataclass(frozen=True)
class Work:
    """One row of the table: what is trained, and what is asked of it."""

    name: str
    config: dict[str, Any]
    """A TrainConfig; ``dataset`` and ``test_dataset`` are paths."""
    speed: float
    """At least so many times the reference's tokens a second."""
    memory: float
    """At most such a share of the reference's peak memory."""
    loss: float | None
    """Largest relative difference of a loss; None: the test accuracy is compared instead."""
    precisions: Sequence[str] = PRECISIONS
    seeds: Sequence[int] = (42,)
    """The seed of each run in turn; the last one is used for all that follow."""
    compared: int = field(default=8)
    """Updates whose loss is compared."""


def works(data: Path, folder: Path) -> dict[str, Work]:
    """The rows of the table, over the real data in ``data``."""
    chat: dict[str, Any] = {
        "base_model": CHAT,
        "dataset": str(first_rows(data / "alpaca_en_demo.json", 64, folder)),
        "validation_share": 0,
        "batch_size": 8,
        "max_length": 512,
        "epochs": 2,
        "max_steps": 9,  # so that the loss after the eighth is seen
        "warmup_ratio": 0,
        "lora": {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0},
    }
    every = chat | {"lora": chat["lora"] | {"target_modules": EVERY_LINEAR}}
    pairs: dict[str, Any] = {
        "base_model": "all-minilm-l6-v2",
        "dataset": str(data / "mrpc_train.txt"),
        "test_dataset": str(data / "mrpc_test.txt"),
        "roles": {"text": "#1 String", "text_pair": "#2 String", "label": "Quality"},
        "validation_share": 0,
        "batch_size": 16,
        "max_length": 128,
        "epochs": 3,
        "learning_rate": 2e-3,
        "warmup_ratio": 0,
        "lora": {"r": 8, "lora_alpha": 16, "lora_dropout": 0.1},
    }
    return {
        "qv": Work("SmolLM2-135M, q+v", chat, 3.0, 0.25, 0.01),
        "linear": Work("SmolLM2-135M, every linear layer", every, 3.0, 0.25, 0.01),
        "mrpc": Work("MiniLM-L6 on MRPC, query+value", pairs, 3.0, 0.5, None, seeds=(42, 43, 44)),
        "fp32": Work(
            "SmolLM2-135M, q+v, fp32 throughout",
            chat | {"precision": "fp32"},
            *(2.0, 0.25, 0.001),
            precisions=("fp32",),
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen rows, print the table and write the JSON file."""
    options = parser("training", str(__doc__).splitlines()[0])
    options.add_argument("--data", type=Path, default=DATA, help="folder with the real data")
    options.add_argument("--work", nargs="+", default=["qv", "linear", "mrpc", "fp32"])
    chosen = options.parse_args(arguments)
    bars: list[Bar] = []
    details: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for key, work in works(chosen.data, Path(temporary)).items():
            if key in chosen.work:
                known = details.get("qv") if key == "linear" else None
                precision = known["reference_precision"] if known else ""
                found = measure(work, Path(temporary) / key, chosen.runs, precision)
                details[key] = found
                bars += judge(work, found)
                print(markdown(bars), flush=True)
                write("training", bars, details, chosen.results, keep=True)


def measure(work: Work, folder: Path, runs: int, precision: str = "") -> dict[str, Any]:
    """Both sides ``runs`` times, in turns; first the reference's best precision is found, unless
    it is given."""
    pairs = []
    for number, job in zip(range(runs), _jobs(work, folder), strict=False):
        if not precision:
            precision = _best(work, job)
        there = children.run("reference", job | {"precision": precision})
        here = children.run("ours", job)
        tokens = job["tokens"] - job["first_tokens"]
        for side in (here, there):
            side["tokens_per_second"] = tokens / side["seconds"]
        pairs.append({"seed": job["config"]["seed"], "ours": here, "reference": there})
        speeds = (f"{side['tokens_per_second']:.1f}" for side in (here, there))
        print(f"{work.name}, run {number + 1}: {' against '.join(speeds)} tokens/s", flush=True)
    return {
        "config": work.config,
        "reference_precision": precision,
        "pairs": pairs,
        "tokens": tokens,
        "learned": job["learned"] - job["first_learned"],
    }


def judge(work: Work, found: dict[str, Any]) -> list[Bar]:
    """The bars of one row, from the medians of its runs."""
    pairs = found["pairs"]

    def middle(side: str, key: str) -> float:
        return median([pair[side][key] for pair in pairs])

    note = f"{found['reference_precision']}; ours starts in {middle('ours', 'startup_seconds'):.0f} s, reference in {middle('reference', 'startup_seconds'):.0f} s"  # fmt: skip  # noqa: E501
    speed, memory = "tokens_per_second", "peak_mb"
    bars = [
        at_least(
            work.name, "tokens/s", middle("ours", speed), middle("reference", speed), work.speed,
            note,
        ),
        at_most(work.name, "MB peak", middle("ours", memory), middle("reference", memory),
                work.memory),
    ]  # fmt: skip
    if work.loss is not None:
        bars.append(
            within(work.name, "of the loss", max(_gaps(work, pairs)), work.loss, "largest gap")
        )
    elif all(pair["ours"]["test"] for pair in pairs):
        bars.append(_accuracy(work, pairs))
    return bars


def _gaps(work: Work, pairs: Sequence[dict[str, Any]]) -> Iterator[float]:
    """How far the losses after each update are apart, relative to the reference's."""
    for pair in pairs:
        both = zip(pair["ours"]["losses"], pair["reference"]["losses"], strict=True)
        # the loss of update n + 1 is what n updates made of the model
        for ours, theirs in list(both)[1 : work.compared + 1]:
            yield abs(ours - theirs) / theirs


def _accuracy(work: Work, pairs: Sequence[dict[str, Any]]) -> Bar:
    """Ours is reached where its median is no lower than the reference's worst seed."""
    ours = [pair["ours"]["test"]["accuracy"] for pair in pairs]
    theirs = [pair["reference"]["test"]["accuracy"] for pair in pairs]
    lowest = min(theirs)
    note = (
        f"ours {', '.join(f'{a:.1%}' for a in ours)}; "
        f"reference {', '.join(f'{a:.1%}' for a in theirs)}"
    )
    return Bar(
        *(work.name, "test accuracy", median(ours), median(theirs)),
        *("≥ lowest seed", median(ours) >= lowest, note),
    )


def _jobs(work: Work, folder: Path) -> Iterator[dict[str, Any]]:
    """What the sides are asked to do in each run, prepared once a seed."""
    for place, seed in enumerate(work.seeds):
        here = folder / str(seed)
        here.mkdir(parents=True)
        config = work.config | {"seed": seed}
        made = children.run("preparing", {"folder": str(here), "config": config})
        from lora_engine.config import TrainConfig

        job = {
            **made,
            "config": TrainConfig.parse(config).to_json(),
            "steps": made["updates"],
            "updates": str(here / "updates"),
            "test": str(here / "test"),
            "start": str(here / "start"),
            "out": str(here / "out"),
        }
        yield job
        while place == len(work.seeds) - 1:
            yield job


def _best(work: Work, job: dict[str, Any]) -> str:
    """The precision in which the reference is fastest, by three updates of each; one that this
    machine cannot do is left out and named."""
    if len(work.precisions) == 1:
        return work.precisions[0]
    speeds = {}
    for precision in work.precisions:
        try:
            tried = children.run(
                "reference", job | {"precision": precision, "steps": 3, "test": ""}
            )
        except RuntimeError as error:
            print(f"{work.name}: the reference cannot do {precision}: {error}", flush=True)
            continue
        speeds[precision] = 1 / tried["seconds"]
        print(f"{work.name}: two updates of the reference in {precision} take "
              f"{tried['seconds']:.1f} s", flush=True)  # fmt: skip
    if not speeds:
        raise RuntimeError(f"{work.name}: the reference ran in none of its precisions")
    return max(speeds, key=speeds.__getitem__)


def first_rows(path: Path, count: int, folder: Path) -> Path:
    """A file of the first ``count`` rows of a JSON list."""
    rows = json.loads(path.read_text(encoding="utf-8"))[:count]
    made = folder / path.name
    made.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return made


if __name__ == "__main__":
    main()
