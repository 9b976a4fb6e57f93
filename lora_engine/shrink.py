"""Cut an adapter to a smaller rank, and say what that costs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from lora_engine import adapter as adapter_files
from lora_engine import derived
from lora_engine.adapter import Adapter
from lora_engine.adapter_config import TASK, TRAINING, AdapterSettings
from lora_engine.config import TrainConfig
from lora_engine.errors import AdapterError, WorkbenchError
from lora_engine.model import choose_device
from lora_engine.pairs import pairs_of
from lora_engine.progress import Report

REPORT = "shrink.json"


class ShrinkReport(BaseModel):
    """What an adapter was and is."""

    model_config = ConfigDict(frozen=True)

    r_before: int
    r: int
    energy_kept: float
    """Share of ‖ΔW‖² (all modules together) that the smaller rank holds, 0 to 1."""
    mb_before: float
    """Size of the tensors in float32, in MB of 10**6 bytes."""
    mb: float
    eval_loss_before: float | None = None
    """On rows that the run did not train on (see ``measure``); None where not measured."""
    eval_loss: float | None = None
    sentence: str = ""
    note: str = ""
    """Why nothing was measured; empty where it was."""


def shrink(
    path: Path,
    r: int,
    out: Path,
    *,
    home: Path,
    report: Report,
    measure: bool = True,
    device: str = "auto",
) -> ShrinkReport:
    """Write the adapter at ``path``, cut to rank ``r``, to the folder (or .zip) ``out``.

    Each ΔW becomes the nearest matrix of rank ``r`` in the Frobenius norm, by a truncated SVD
    (see ``Pair.cut``); where it has no higher rank it stays what it is. Modules of a smaller
    rank, magnitudes, biases and whole saved modules stay as they are. The new files scale by 1:
    B·A is ΔW itself. With ``measure`` the loss before and after is taken on the rows that the
    run held out, or else on its test data, where its settings, data and base model are still there.

    Raises:
        WorkbenchError: no adapter with pairs of a higher rank, or ``out`` has something in it.
    """
    derived.check_free(out)
    if measure:
        choose_device(device)
    adapter = adapter_files.read(path)
    pairs, others = pairs_of(adapter)
    r_before = max(pair.r for pair in pairs.values())
    if not 1 <= r < r_before:
        raise AdapterError(
            f"This adapter has rank {r_before}; choose a smaller one, from 1 to {r_before - 1}."
            if r_before > 1
            else "This adapter has rank 1, which cannot be cut."
        )
    values = [pair.singular_values().square() for pair in pairs.values()]
    total = sum(float(found.sum()) for found in values)
    tensors = dict(others)
    for name, pair in pairs.items():
        tensors |= pair.cut(min(pair.r, r)).tensors(name)
    smaller = Adapter(_settings(adapter.settings, r), tensors)
    found = ShrinkReport(
        r_before=r_before,
        r=r,
        energy_kept=sum(float(v[:r].sum()) for v in values) / total if total else 1.0,
        mb_before=_megabytes(adapter),
        mb=_megabytes(smaller),
        note="" if measure else "Not measured, as asked.",
    )
    if measure:
        found = found.model_copy(update=_measured(adapter, smaller, home, report, device))
    found = found.model_copy(update={"sentence": _sentence(found)})
    config = smaller.settings.peft
    assert config is not None, "only an adapter with a PEFT config has pairs"
    beside = {
        TRAINING: adapter.training,
        TASK: adapter.settings.about,
        REPORT: found.model_dump(mode="json"),
    }
    derived.write(out, tensors, config, beside)
    return found


def _settings(settings: AdapterSettings, r: int) -> AdapterSettings:
    """The settings with ranks of at most ``r`` and every scaling 1 (alpha = rank)."""
    lora = settings.lora
    ranks = {pattern: min(rank, r) for pattern, rank in lora.rank_pattern.items()}
    changes: dict[str, Any] = {
        "r": min(lora.r, r),
        "lora_alpha": min(lora.r, r),
        "use_rslora": False,
        "rank_pattern": ranks,
        "alpha_pattern": dict(ranks),
    }
    return replace(
        settings,
        lora=lora.model_copy(update=changes),
        peft={**(settings.peft or {}), **changes, "init_lora_weights": True},
    )


def _measured(
    before: Adapter, after: Adapter, home: Path, report: Report, device: str
) -> dict[str, Any]:
    """The two losses, or the reason why there are none."""
    from lora_engine.measure import unseen_losses

    if before.training is None or "dataset" not in before.training:
        return {"note": "Not measured: the adapter does not say what it was trained on."}
    try:
        config = TrainConfig.parse(before.training)
        losses = unseen_losses([before, after], config, home=home, report=report, device=device)
    except WorkbenchError as error:
        return {"note": f"Not measured: {error}"}
    return {"eval_loss_before": losses[0], "eval_loss": losses[1]}


def _megabytes(adapter: Adapter) -> float:
    return 4 * sum(tensor.numel() for tensor in adapter.tensors.values()) / 1e6


def _sentence(found: ShrinkReport) -> str:
    said = (
        f"From rank {found.r_before} to {found.r}: {found.mb_before:.2f} MB became "
        f"{found.mb:.2f} MB and {100 * found.energy_kept:.1f} % of what it learned is kept."
    )
    if found.eval_loss is None:
        return f"{said} {found.note}"
    return (
        f"{said} On the held-out rows the loss went from {found.eval_loss_before:.4f} "
        f"to {found.eval_loss:.4f}."
    )
