"""Answers side by side: what the second, and the other four, cost beside one answer alone."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM

from benchmarks import report
from benchmarks.report import Bar
from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.adapter import Adapter
from lora_engine.config import LoraConfig
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject

STARTER = "smollm2-135m-instruct"
PROMPT = "Write a short story about a lighthouse keeper who finds a letter in a bottle."
TARGETS: dict[str, tuple[str, ...] | str] = {
    "q+v": ("q_proj", "v_proj"),
    "every linear layer": "all-linear",
}
ADAPTERS = 4
PAIR_BAR, FIVE_BAR, FIRST_BAR = 1.25, 1.6, 1.5

Details = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write ``generation.json``."""
    parser = report.parser("generation", __doc__ or "")
    parser.add_argument("--model", type=Path, help="a model folder in the starter's place")
    parser.add_argument("--tokens", type=int, default=128, help="length of every answer")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves its own choice")
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    folder = chosen.model or catalog.resolve(STARTER, catalog.DEFAULT_HOME).path
    details: Details = {"threads": torch.get_num_threads(), "load": psutil.getloadavg()[0]}
    details |= measure(folder, chosen.tokens, chosen.runs)
    bars = judge(details, chosen.tokens)
    report.write("generation", bars, details, chosen.results)
    print(report.markdown(bars))


def judge(details: Details, tokens: int) -> list[Bar]:
    """The table's lines from the single runs; a ratio of processor time stands beside it."""
    bars = []
    for name in TARGETS:
        found = details[name]

        def middle(side: str, clock: str = "seconds", found: Details = found) -> float:
            return report.median([run[clock] for run in found[side]])

        def line(
            work: str, ours: str, other: str, bar: float,
            name: str = name, middle: Callable[..., float] = middle,
        ) -> Bar:  # fmt: skip
            processor = middle(ours, "cpu") / middle(other, "cpu")
            note = f"processor time {processor:.2f} ×"
            return report.at_most(f"{work}, {name}", "s", middle(ours), middle(other), bar, note)

        bars += [
            line(f"base and adapted, {tokens} tokens each, against one answer", "both", "one",
                 PAIR_BAR),
            line(f"base and {ADAPTERS} adapters, {tokens} tokens each, against one answer",
                 "five", "one", FIVE_BAR),
            line("first token of base and adapted against plain `generate`", "first", "plain",
                 FIRST_BAR),
        ]  # fmt: skip
    return bars


def measure(folder: Path, tokens: int, runs: int) -> Details:
    """Every side in turns, after one round that is not counted."""
    speaker = Speaker.load(folder, torch.device("cpu"))
    speaker.stop_ids = set()  # every answer has the same length
    plain: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = speaker.prompt_ids([{"role": "user", "content": PROMPT}])
    base, details = Row(ids), {}
    for name, targets in TARGETS.items():
        adapters = [make_adapter(speaker, targets, seed) for seed in range(ADAPTERS)]
        rows = [Row(ids, adapter) for adapter in adapters]

        def answer(rows: list[Row], count: int = tokens) -> Callable[[], None]:
            def work() -> None:
                found = speaker.answer(rows, Decoding(max_new_tokens=count), lambda *_: None)
                assert all(len(each) == count for each in found.token_ids)

            return work

        def first_of_plain() -> None:
            plain.generate(
                input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)),
                max_new_tokens=1, do_sample=False,
            )  # fmt: skip

        sides = {
            "one": answer([base]),
            "both": answer([base, rows[0]]),
            "five": answer([base, *rows]),
            "first": answer([base, rows[0]], 1),
            "plain": first_of_plain,
        }
        for side in ("five", "first", "plain"):
            sides[side]()
        details[name] = in_turns(sides, runs)
    return details


def in_turns(sides: dict[str, Callable[[], None]], runs: int) -> Details:
    """Seconds and processor seconds of each run of each side."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(runs):
        for side, work in sides.items():
            began, processor = time.perf_counter(), time.process_time()
            work()
            seconds, cpu = time.perf_counter() - began, time.process_time() - processor
            found[side].append({"seconds": seconds, "cpu": cpu})
    return found


def make_adapter(speaker: Speaker, targets: tuple[str, ...] | str, seed: int) -> Adapter:
    """An adapter with r=8 and a random B, saved and read again; the speaker stays a base model."""
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=targets)
    model: Any = AutoModelForCausalLM.from_config(speaker.model.config)
    profile = profile_model(model, STARTER)
    inject(model, lora, profile)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in adapter_files.trained_tensors(model).items():
            if "lora_B" in name:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.01)
    with tempfile.TemporaryDirectory() as folder:
        adapter_files.save(model, Path(folder), lora, profile, base_model=STARTER)
        return adapter_files.read(Path(folder))


if __name__ == "__main__":
    main()
