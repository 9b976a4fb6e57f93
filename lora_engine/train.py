"""From settings to an adapter: the one visible training loop."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from lora_engine import adapter
from lora_engine.activations import take_path
from lora_engine.batches import Plan
from lora_engine.best import best_of, gets_no_better, load_best, save_best
from lora_engine.checkpoint import RunState, load_checkpoint, save_checkpoint
from lora_engine.config import TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.errors import DivergedError
from lora_engine.evaluate import look, measure
from lora_engine.extras import check_extras
from lora_engine.fast.onednn import quicken
from lora_engine.glimpse import Glimpse, glimpse
from lora_engine.lora.inject import inject
from lora_engine.lora.starts import finish_start
from lora_engine.loss import backward
from lora_engine.memory import Heap, limit_kernel_cache, peak_memory_mb
from lora_engine.model import CARD, choose_device, choose_dtype
from lora_engine.noise import add_embedding_noise
from lora_engine.optimizer import make_optimizer, make_scheduler
from lora_engine.outcome import collect_metrics, told_end, write_adapter
from lora_engine.patience import Impatient, Patience
from lora_engine.prepare import prepare
from lora_engine.progress import Phase, Progress, Report, ShouldStop
from lora_engine.start_from import inject_and_load

SAVING_SHARE = 20
"""Between two checkpoints passes at least so many times what the last one took."""
CARD_UNUSED = (
    "PyTorch cannot use the graphics card (its driver or the card is too old, or PyTorch was "
    "installed without CUDA), so this run is on the CPU"
)


def evaluates_every(total_steps: int) -> int:
    """Updates between two looks at the validation loss: about ten looks a run."""
    return max(1, total_steps // 10)


@dataclass(frozen=True)
class TrainResult:
    """What came of a run."""

    adapter: Path | None
    """The zip, or None where the run was stopped before its first update."""
    metrics: dict[str, Any]
    """JSON values: losses, counts, times."""
    stopped: bool
    """Whether ``should_stop`` ended the run, or the measuring after it, early."""


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
    measure_seconds: float = 20.0,
) -> TrainResult:
    """Train an adapter and write ``out_dir/adapter/``, ``out_dir/adapter.zip`` and checkpoints.

    The task of the run decides what is learned (``lora_engine.tasks``). An update's loss is the
    mean over its learned tokens, or rows with a label, whatever the batch size. With
    ``resume`` the run goes on from ``out_dir/checkpoint`` where there is one. On the CPU a run
    is deterministic for its seed, and a resumed run ends where an uninterrupted one would. A
    checkpoint is written every ``checkpoint_seconds`` (0: after every update), or less often where
    that takes long. Once asked to stop, it first writes what was learned and then measures for
    ``measure_seconds``.

    Raises:
        WorkbenchError: settings, data or model that cannot be used.
        DivergedError: the loss is no number any more; the checkpoint is from before.
    """
    report(Progress(phase="preparing", message="Reading the data"))
    heap = Heap()
    heap.keep()
    check_extras(config)
    set_seed(config.seed)
    place = choose_device(device)
    if device == CARD and place.type == "cpu":
        report(Progress(phase="preparing", message=CARD_UNUSED))
    start = adapter.read(Path(config.start_from)) if config.start_from else None
    patience = Patience(should_stop, measure_seconds)
    work = prepare(config, home, out_dir, report).watched(patience.check)
    limit_kernel_cache(updates_alike=work.task.name == "classification")
    report(Progress(phase="preparing", message="Loading the model"))
    dtype = choose_dtype(config.precision, place, trains_weights=config.lora.method != "lora")
    task = work.task
    model = task.load(work.model.path, place, dtype, work.words, config.quantization)
    profile = task.profile(work.model.path, config.base_model)
    counts = count_parameters(profile, config.lora)
    if start is None:
        inject(model, config.lora, profile)
    else:
        labels = task.about().get("labels", ())
        inject_and_load(model, start, config.lora, profile, labels)
    said = finish_start(
        model,
        config.lora.init_lora_weights,
        lambda: task.load(work.model.path, torch.device("cpu"), torch.float32, work.words),
    )
    if said:
        report(Progress(phase="preparing", message=said))
    if config.neftune_noise_alpha:
        add_embedding_noise(model, config.neftune_noise_alpha)
    if config.fast:
        quicken(model)
    path, recomputes = take_path(model, config, work, place, report)

    plan = Plan.of(config, len(work.training))
    optimizer = make_optimizer(model, config)
    trainable = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    scheduler = make_scheduler(optimizer, config, plan.total_steps)
    checkpoint, best = out_dir / "checkpoint", out_dir / "best.safetensors"
    parts = model, optimizer, scheduler
    basis = work.fingerprint, config.to_json()
    found = load_checkpoint(checkpoint, *parts, *basis) if resume else None
    state = found or RunState()
    metric = config.metric_for_best_model
    if found is None:
        best.unlink(missing_ok=True)  # of a run before, in the same folder

    def tell(phase: Phase, message: str = "", **measured: float) -> None:
        pace = state.seconds / state.step if state.step else None
        report(
            Progress(
                phase=phase,
                message=message,
                step=state.step,
                total_steps=plan.total_steps,
                loss=state.losses[-1] if state.losses else None,
                learning_rate=float(scheduler.get_last_lr()[0]),
                tokens_per_second=state.tokens / state.seconds if state.step else None,
                memory_mb=peak_memory_mb(place),
                eta_seconds=pace * (plan.total_steps - state.step) if pace else None,
                **measured,
            )
        )

    def evaluate(keeps_best: bool = True) -> None:
        if not work.validation:
            return
        tell("evaluating", "Measuring on rows that are not trained on")
        model.eval()
        with suppress(Impatient):
            loss, scores = look(path, work.validation.in_order())
            state.eval_losses.append((state.step, loss))
            if scores:
                state.eval_scores.append((state.step, scores))
            tell("evaluating", "", eval_loss=loss, **scores)
            keeps = config.load_best_model_at_end and keeps_best
            if keeps and best_of(state.looks(metric)) == state.step:
                save_best(best, model, state.step)
        model.train()

    def is_over() -> bool:
        gives_up = gets_no_better(state.looks(metric), config.early_stopping_patience)
        return state.step >= plan.total_steps or gives_up

    def ask(name: str) -> Glimpse:
        count = config.sample_answers
        return glimpse(model, work, count, lambda message: tell("evaluating", message), name)

    if not state.eval_losses:
        evaluate()
    if not state.step and not state.answers_before:
        state.answers_before = ask("before")
    evaluate_every = evaluates_every(plan.total_steps)
    saved_at, pause = time.monotonic(), checkpoint_seconds
    stopped = False
    model.train()
    while not is_over():
        if stopped := patience.asked():
            break
        began = time.perf_counter()
        examples = work.training.examples(plan.update(state.step))
        loss = backward(path, examples)
        if not math.isfinite(loss):
            raise DivergedError(state.step)
        state.tokens += path.tokens(examples)
        if config.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(trainable, config.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        state.step += 1
        state.losses.append(loss)
        state.seconds += time.perf_counter() - began
        tell("training")
        heap.tidy()
        is_last = state.step == plan.total_steps
        if (is_last or state.step % evaluate_every == 0) and not patience.asked():
            evaluate()
        if is_over() or time.monotonic() - saved_at > pause:
            began = time.monotonic()
            save_checkpoint(checkpoint, *parts, state, *basis)
            saved_at = time.monotonic()
            # so that a model of many gigabytes does not spend the run on writing itself
            pause = max(pause, SAVING_SHARE * (saved_at - began)) if pause else 0

    if state.step == 0:
        return TrainResult(None, {}, stopped)

    def leave(scores: dict[str, Any], kept_step: int) -> TrainResult:
        metrics = collect_metrics(model, counts, work, state, plan, place) | scores
        metrics["gradient_checkpointing"] = recomputes
        metrics["start"] = said
        metrics["card_unused"] = device == CARD and place.type == "cpu"
        metrics |= told_end(state, plan, kept_step, metric, over=is_over() and not stopped)
        written = write_adapter(model, out_dir, config, profile, work, metrics)
        return TrainResult(written, metrics, stopped or patience.ran_out)

    def tell_measuring(message: str) -> None:
        tell("evaluating", message)
        patience.check()

    tell("saving", "Saving the adapter")
    if stopped:
        save_checkpoint(checkpoint, *parts, state, *basis)
    if patience.asked():
        leave({}, state.step)  # whoever asked may end this process by force before all is measured
    if state.eval_losses and state.eval_losses[-1][0] != state.step:
        evaluate(keeps_best=False)  # the checkpoint does not know of this loss
    kept = state.step
    better = best_of(state.looks(metric)) if config.load_best_model_at_end else None
    if better not in (None, kept) and load_best(best, model, better):
        kept = better
    scores: dict[str, Any] = measure(model, path, work, tell_measuring)
    if state.answers_before and not patience.ran_out:
        both = zip(state.answers_before, ask("after"), strict=False)  # a look may lose no run
        scores["samples"] = [before | after for before, after in both]
    return leave(scores, kept)
