"""What both sides of the training benchmark get: the same rows in the same order, and one start.

A child of ``benchmarks.training``: it makes the examples of every update and an untrained
adapter, so that the reference's process holds nothing of ours.
"""

from pathlib import Path
from typing import Any

import datasets  # type: ignore[import-untyped]
import torch

from benchmarks import children
from lora_engine import adapter
from lora_engine.batches import Plan, learned_tokens
from lora_engine.catalog import DEFAULT_HOME
from lora_engine.config import TrainConfig
from lora_engine.lora.inject import inject
from lora_engine.prepare import prepare
from lora_engine.share import Share


def main() -> None:
    """Write ``updates/``, ``test/`` and ``start/`` into the folder of the job."""
    job = children.job()
    folder = Path(job["folder"])
    config = TrainConfig.parse(job["config"])
    torch.manual_seed(config.seed)
    work = prepare(config, DEFAULT_HOME, folder / "prepared", lambda _: None)
    plan = Plan.of(config, len(work.training))
    rows = [
        example
        for step in range(plan.total_steps)
        for example in work.training.examples(plan.update(step))
    ]
    datasets.Dataset.from_list(rows).save_to_disk(folder / "updates")
    if work.test is not None:
        datasets.Dataset.from_list(_all(work.test)).save_to_disk(folder / "test")
    model = work.task.load(work.model.path, torch.device("cpu"), torch.float32, work.words)
    profile = work.task.profile(work.model.path, config.base_model)
    inject(model, config.lora, profile)
    adapter.save(model, folder / "start", config.lora, profile, str(work.model.path))
    lengths = [len(row["input_ids"]) for row in rows]
    learned = [learned_tokens([row]) for row in rows]
    first = len(plan.update(0))
    children.answer(
        {
            "model": str(work.model.path),
            "pad_id": work.words.pad_id,
            "labels": list(work.task.about().get("labels", ())),
            "first_tokens": sum(lengths[:first]),
            "tokens": sum(lengths),
            "first_learned": sum(learned[:first]),
            "learned": sum(learned),
            "updates": plan.total_steps,
        }
    )


def _all(share: Share) -> list[dict[str, Any]]:
    return [dict(example) for examples in share.in_order() for example in examples]


if __name__ == "__main__":
    main()
