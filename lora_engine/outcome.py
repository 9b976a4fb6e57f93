"""What a run leaves behind: adapter, settings, metrics, a README, and all of them in a zip."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lora_engine import adapter
from lora_engine.adapter_config import TASK
from lora_engine.batches import Plan
from lora_engine.best import best_of
from lora_engine.checkpoint import RunState
from lora_engine.config import LoraConfig, Metric, TrainConfig
from lora_engine.counts import ParameterCount
from lora_engine.finite import finite
from lora_engine.memory import peak_memory_mb
from lora_engine.prepare import Work
from lora_engine.profile import ModelProfile
from lora_engine.registry import METHODS, QUANTIZATIONS, VARIANTS
from lora_engine.tasks.registry import TASKS

README = """# {title}

{kind} made with LoRA Workbench on {date}.

## What it was trained on
- Base model: `{base_model}`{revision}
- Data: {data} ({rows:,} rows used{left_out}; {validation})
- {what}
- {trainable:,} trained parameters, {percent:.4f} % of {total:,}
- {steps:,} of {planned:,} updates, {tokens:,} tokens in {seconds:.0f} s{stopped}

## How well
{outcome}

Every measured value is in `metrics.json`, every setting in `train_config.json`.

## How to load it
{usage}
{base_note}
With LoRA Workbench: `python -m lora_engine compare --adapter adapter/ --prompt "…"`.
"""
BEST: dict[Metric, tuple[str, str, str]] = {
    "loss": ("loss", "fell", "lowest"),
    "accuracy": ("accuracy", "rose", "highest"),
    "f1": ("macro F1", "rose", "highest"),
}
"""What a run may go by: its name, which way is better, and where it is best."""


def collect_metrics(
    model: nn.Module,
    counts: ParameterCount,
    work: Work,
    state: RunState,
    plan: Plan,
    device: torch.device,
) -> dict[str, Any]:
    """The run in numbers: losses in nats per learned token (classifiers: per row), times in
    seconds, memory in MB."""
    rows = len(work.training) + len(work.validation)
    evals = [loss for _, loss in state.eval_losses]
    scores = dict(state.eval_scores)
    best = best_of(state.eval_losses)
    return {
        **work.task.about(),
        "rows": rows,
        "train_rows": len(work.training),
        "validation_rows": len(work.validation),
        "rows_left_out": work.dataset.total_rows - work.not_drawn - rows,
        "rows_not_drawn": work.not_drawn,
        "rows_cut": work.encoded.rows_cut,
        "answers_not_learned": work.encoded.missed_answers,
        "trainable": counts.trainable,
        "total": counts.total,
        "percent": counts.percent,
        "steps": state.step,
        "total_steps": plan.total_steps,
        "loss_first": state.losses[0],
        "loss_last": state.losses[-1],
        "eval_loss_before": evals[0] if evals else None,
        "eval_loss_best": None if best is None else dict(state.eval_losses)[best],
        "eval_loss_best_step": best,
        "eval_history": [
            {"step": step, "eval_loss": loss, **scores.get(step, {})}
            for step, loss in state.eval_losses
        ],
        "tokens": state.tokens,
        "seconds": state.seconds,
        "tokens_per_second": state.tokens / state.seconds,
        "peak_memory_mb": peak_memory_mb(device),
        "device": str(device),
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
    }


def told_end(
    state: RunState, plan: Plan, kept_step: int, metric: Metric, over: bool
) -> dict[str, Any]:
    """How the run came to its end, and which update's weights are kept by what."""
    early = state.step < plan.total_steps
    return {
        "stopped": early and not over,
        "ended_early": early and over,
        "kept_step": kept_step,
        "metric_for_best_model": metric,
        "eval_loss_after": dict(state.eval_losses).get(kept_step),
    }


def write_adapter(
    model: nn.Module,
    out_dir: Path,
    config: TrainConfig,
    profile: ModelProfile,
    work: Work,
    metrics: dict[str, Any],
) -> Path:
    """Write ``out_dir/adapter/`` and its zip; each appears only when it is whole."""
    unfinished, folder = out_dir / "adapter.part", out_dir / "adapter"
    shutil.rmtree(unfinished, ignore_errors=True)
    adapter.save(
        model, unfinished, config.lora, profile, work.model.published_as, work.model.revision
    )
    work.task.leave(unfinished, metrics)
    learned = {key: said for key, said in work.task.about().items() if key in ("task", "labels")}
    _write_json(unfinished / TASK, learned)
    _write_json(unfinished / "train_config.json", config.to_json())
    _write_json(unfinished / "metrics.json", metrics)
    (unfinished / "README.md").write_text(_readme(config, profile, work, metrics), "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    adapter.pack(folder, out_dir / "adapter.zip")
    return out_dir / "adapter.zip"


def _readme(config: TrainConfig, profile: ModelProfile, work: Work, metrics: dict[str, Any]) -> str:
    revision = work.model.revision
    held_out = metrics["validation_rows"]
    source = work.model.published_as
    whole = METHODS[config.lora.method].trains != "pairs"
    return README.format(
        kind="Trained weights of a model," if whole else "A LoRA adapter",
        title=f"{work.dataset.name} on {config.base_model}",
        date=datetime.now(UTC).date().isoformat(),
        base_model=config.base_model,
        revision=f" at revision `{revision}`" if revision else "",
        data=work.dataset.name,
        rows=metrics["rows"],
        left_out=_beside_rows(metrics),
        validation=f"{held_out:,} of them held out to measure" if held_out else "none held out",
        what=_what(config.lora, profile) + _held(config) + _start(config),
        trainable=metrics["trainable"],
        percent=metrics["percent"],
        total=metrics["total"],
        steps=metrics["steps"],
        planned=metrics["total_steps"],
        tokens=metrics["tokens"],
        seconds=metrics["seconds"],
        stopped=_end(metrics),
        outcome=_outcome(metrics, work.task.unit),
        usage=work.task.usage(source, work.words, whole=whole),
        base_note=f"\n{work.model.note}\n" if work.model.note else "",
    )


def _what(lora: LoraConfig, profile: ModelProfile) -> str:
    """What of the model was trained, in one line."""
    if lora.method != "lora":
        is_part = METHODS[lora.method].trains == "last layers"
        last = f" (the last {lora.freeze_trainable_layers} layers)" if is_part else ""
        return f"Method: {lora.method}{last}"
    targets = profile.targets(lora)
    names = f"`{targets}`" if isinstance(targets, str) else ", ".join(f"`{t}`" for t in targets)
    variant = [
        VARIANTS[lora.variant].title,
        "rsLoRA" if lora.use_rslora else "",
        f"{lora.init_lora_weights} start" if lora.init_lora_weights != "kaiming" else "",
        f"LoRA+ ratio {lora.loraplus_lr_ratio:g}" if lora.loraplus_lr_ratio else "",
    ]
    return (
        f"Adapted modules: {names} (r={lora.r}, alpha={lora.lora_alpha:g}, "
        f"dropout={lora.lora_dropout:g}, bias={lora.bias}"
        + "".join(f", {said}" for said in variant if said)
        + ")"
    )


def _held(config: TrainConfig) -> str:
    held = QUANTIZATIONS.get(config.quantization)
    return f"; the base was held in {held}, and what is measured below is of it" if held else ""


def _start(config: TrainConfig) -> str:
    if config.start_from is None:
        return ""
    return f"; it went on from the adapter `{Path(config.start_from).name}`"


def _beside_rows(metrics: dict[str, Any]) -> str:
    said = {
        "rows_not_drawn": "not drawn",
        "rows_left_out": "left out",
        "rows_cut": "cut at the maximum length",
        "answers_not_learned": "answers that the chat template hides",
    }
    return "".join(f", {metrics[key]:,} {words}" for key, words in said.items() if metrics[key])


def told_scores(metrics: dict[str, Any]) -> list[str]:
    """What was measured on rows that were not trained on, a sentence each share of them."""
    return [
        f"On {measured['rows']:,} {name} rows of {measured['dataset']}: "
        f"{TASKS[metrics['task']].outcome(measured)}."
        for name in ("validation", "test")
        if (measured := metrics.get(name))
    ]


def _end(metrics: dict[str, Any]) -> str:
    said = ", stopped early by hand" if metrics["stopped"] else ""
    name, moved, best = BEST[metrics["metric_for_best_model"]]
    if metrics["ended_early"]:
        said = f", ended because the {name} on held-out rows {moved} no further"
    if metrics["kept_step"] != metrics["steps"]:
        said += f"; kept as after update {metrics['kept_step']:,}, when that {name} was {best}"
    return said


def _outcome(metrics: dict[str, Any], unit: str) -> str:
    scores = "".join(f"- {sentence}\n" for sentence in told_scores(metrics))
    scores += "\n" if scores else ""
    losses = (
        f"The training loss went from {metrics['loss_first']:.3f} in the first update to "
        f"{metrics['loss_last']:.3f} in the last."
    )
    if metrics["eval_loss_before"] is None:
        unknown = (
            "" if scores else " No rows were held out, so nothing says how it does on new ones."
        )
        return f"{scores}{losses}{unknown}"
    if metrics["eval_loss_after"] is None:
        return f"{scores}{losses} The loss on the held-out rows was not measured after it."
    return (
        f"{scores}On rows that were not trained on, the loss went from "
        f"{metrics['eval_loss_before']:.3f} (before) to {metrics['eval_loss_after']:.3f} "
        f"nats per {unit}; lowest {metrics['eval_loss_best']:.3f} after update "
        f"{metrics['eval_loss_best_step']}. {losses}"
    )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(finite(values), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
