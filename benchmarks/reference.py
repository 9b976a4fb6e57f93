"""One run of transformers' Trainer with peft over the same rows: a child of the benchmark."""

import time
from pathlib import Path
from typing import Any

import datasets  # type: ignore[import-untyped]
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks import children
from benchmarks.report import peak_memory_mb

HAS_CARD = torch.cuda.is_available()
NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)


class Clock(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """When each update ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []
        self.worked: list[float] = []
        """The processor seconds of all threads until then."""

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the Trainer."""
        self.ended.append(time.perf_counter())
        self.worked.append(time.process_time())


def main() -> None:
    """Train as the job says, and tell when each update ended, its loss, and the peak memory."""
    job = children.job()
    config, labels = job["config"], job["labels"]
    began = time.perf_counter()
    precision, _, kernels = job["precision"].partition("+")
    # bf16-weights: the frozen weights in bf16; peft keeps A and B in float32
    narrow = precision in ("bf16-weights", "nf4")
    options: dict[str, Any] = {"dtype": torch.bfloat16 if narrow else torch.float32}
    if precision == "nf4":
        options |= {"quantization_config": NF4, "device_map": {"": 0 if HAS_CARD else "cpu"}}
    if labels:
        base = AutoModelForSequenceClassification.from_pretrained(
            job["model"], num_labels=len(labels), **options
        )
    else:
        base = AutoModelForCausalLM.from_pretrained(job["model"], **options)
    model = PeftModel.from_pretrained(base, job["start"], is_trainable=True)
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    rows = datasets.load_from_disk(job["updates"])
    arguments = TrainingArguments(
        output_dir=job["out"],
        per_device_train_batch_size=config["batch_size"],
        per_device_eval_batch_size=config["batch_size"],
        max_steps=job["steps"],
        learning_rate=config["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",  # the rows come in the order of ours
        bf16=precision in ("bf16-autocast", "nf4"),
        use_liger_kernel=kernels == "liger",
        use_cpu=not HAS_CARD,
        logging_steps=1,
        logging_strategy="steps",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=config["seed"],
    )
    clock = Clock()
    if labels:
        rows = rows.map(lambda row: {"labels": row["labels"][0]})
        collator: Any = DataCollatorWithPadding(tokenizer)
    else:
        collator = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100)
    trainer = Trainer(model, arguments, collator, rows, callbacks=[clock])
    trainer.train()
    losses = [said["loss"] for said in trainer.state.log_history if "loss" in said]
    children.answer(
        {
            "startup_seconds": clock.ended[0] - began,
            "seconds": clock.ended[-1] - clock.ended[0],
            "processor_seconds": clock.worked[-1] - clock.worked[0],
            "losses": losses,
            "peak_mb": peak_memory_mb(),
            "test": _test(trainer, job) if labels else None,
        }
    )


def _test(trainer: Trainer, job: dict[str, Any]) -> dict[str, float] | None:
    """Accuracy on the test rows, where there are some."""
    if not job["test"] or not Path(job["test"]).exists():
        return None
    rows = datasets.load_from_disk(job["test"])
    rows = rows.map(lambda row: {"labels": row["labels"][0]})
    found = trainer.predict(rows)
    predictions: Any = found.predictions
    right = predictions.argmax(-1) == found.label_ids
    return {"accuracy": float(right.mean())}


if __name__ == "__main__":
    main()
