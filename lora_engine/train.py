"""From settings to an adapter: the one visible training loop."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import get_scheduler, set_seed

from lora_engine.batches import Plan, learned_tokens
from lora_engine.checkpoint import RunState, load_checkpoint, save_checkpoint
from lora_engine.config import TrainConfig
from lora_engine.fast.packed import choose_path
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.loss import mean_loss
from lora_engine.memory import peak_memory_mb
from lora_engine.model import choose_device, choose_dtype, load_base
from lora_engine.outcome import collect_metrics, write_adapter
from lora_engine.prepare import prepare
from lora_engine.progress import Phase, Progress, Report, ShouldStop


@dataclass(frozen=True)
class TrainResult:
    """What came of a run."""

    adapter: Path | None
    """The zip, or None where the run was stopped before its first update."""
    metrics: dict[str, Any]
    """JSON values: losses, counts, times."""
    stopped: bool
    """Whether ``should_stop`` ended the run early."""


def train(
    config: TrainConfig,
    out_dir: Path,
    report: Report,
    should_stop: ShouldStop,
    *,
    home: Path,
    resume: bool = False,
    device: str = "auto",
    checkpoint_seconds: float = 30.0,
) -> TrainResult:
    """Train an adapter and write ``out_dir/adapter/``, ``out_dir/adapter.zip`` and checkpoints.

    An update's loss is the mean over its learned tokens, whatever the batch size. With
    ``resume`` the run goes on from ``out_dir/checkpoint`` where there is one. On the CPU a run
    is deterministic for its seed, and a resumed run ends where an uninterrupted one would.

    Raises:
        WorkbenchError: settings, data or model that cannot be used.
    """
    report(Progress(phase="preparing", message="Reading the data"))
    set_seed(config.seed)
    place = choose_device(device)
    work = prepare(config, home, out_dir, report)
    report(Progress(phase="preparing", message="Loading the model"))
    model = load_base(work.model.path, place, choose_dtype(config.precision, place))
    targets = profile_model(model, config.base_model).targets(config.lora)
    inject(model, config.lora, targets)
    path = choose_path(model, work.pad_id, config.batch_size, place, config.fast, work.longest)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]

    plan = Plan.of(config, len(work.train_rows))
    optimizer = torch.optim.AdamW(
        trainable, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    scheduler = get_scheduler(
        config.schedule, optimizer, int(config.warmup_ratio * plan.total_steps), plan.total_steps
    )
    checkpoint = out_dir / "checkpoint"
    found = load_checkpoint(checkpoint, model, optimizer, scheduler) if resume else None
    state = found or RunState()

    def tell(phase: Phase, message: str = "", eval_loss: float | None = None) -> None:
        pace = state.seconds / state.step if state.step else None
        report(
            Progress(
                phase=phase,
                message=message,
                step=state.step,
                total_steps=plan.total_steps,
                loss=state.losses[-1] if state.losses else None,
                eval_loss=eval_loss,
                learning_rate=scheduler.get_last_lr()[0],
                tokens_per_second=state.tokens / state.seconds if state.step else None,
                memory_mb=peak_memory_mb(place),
                eta_seconds=pace * (plan.total_steps - state.step) if pace else None,
            )
        )

    def evaluate() -> None:
        if not work.validation_rows:
            return
        tell("evaluating", "Measuring on rows that are not trained on")
        model.eval()
        loss = mean_loss(path, work.validation_examples())
        model.train()
        state.eval_losses.append((state.step, loss))
        tell("evaluating", eval_loss=loss)

    if not state.eval_losses:
        evaluate()
    evaluate_every = max(1, plan.total_steps // 10)
    saved_at = time.monotonic()
    stopped = False
    model.train()
    while state.step < plan.total_steps:
        if stopped := should_stop():
            break
        began = time.perf_counter()
        examples = work.train_examples(plan.update(state.step))
        update_tokens = learned_tokens(examples)
        update_loss = 0.0
        for batch in path.batches(examples):
            loss = path.loss_sum(batch) / update_tokens
            loss.backward()
            update_loss += loss.item()
        state.tokens += sum(len(example["input_ids"]) for example in examples)
        if config.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(trainable, config.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        state.step += 1
        state.losses.append(update_loss)
        state.seconds += time.perf_counter() - began
        tell("training")
        is_last = state.step == plan.total_steps
        if is_last or state.step % evaluate_every == 0:
            evaluate()
        if is_last or time.monotonic() - saved_at > checkpoint_seconds:
            save_checkpoint(checkpoint, model, optimizer, scheduler, state)
            saved_at = time.monotonic()

    if state.step == 0:
        return TrainResult(None, {}, stopped)
    tell("saving", "Saving the adapter")
    if stopped:
        save_checkpoint(checkpoint, model, optimizer, scheduler, state)
        if state.eval_losses and state.eval_losses[-1][0] != state.step:
            evaluate()
    metrics = collect_metrics(model, work, state, plan, stopped, place)
    return TrainResult(
        write_adapter(model, out_dir, config, targets, work, metrics), metrics, stopped
    )
