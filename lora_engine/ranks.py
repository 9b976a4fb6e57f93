"""How much of its rank an adapter uses: the singular values of what it learned."""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from lora_engine import adapter as adapter_files
from lora_engine.adapter import Adapter
from lora_engine.pairs import pairs_of
from lora_engine.registry import VARIANTS


class ModuleRanks(BaseModel):
    """What one adapted module learned."""

    model_config = ConfigDict(frozen=True)

    name: str
    """The module's path in the model."""
    r: int
    """The rank that was paid for."""
    rank_90: int
    """The smallest rank that holds 90 % of the energy, the sum of squared singular values."""
    rank_99: int
    share: float
    """This module's part of the energy of all modules, 0 to 1."""
    singular_values: tuple[float, ...]
    """Of ΔW = scaling · B·A, descending."""


class RankReport(BaseModel):
    """What all adapted modules learned, and the rank that would have done."""

    model_config = ConfigDict(frozen=True)

    r: int
    """The largest rank that was paid for."""
    rank_90: int
    """The smallest rank that, given to every module, holds 90 % of the energy of all."""
    rank_99: int
    kept: tuple[float, ...]
    """Share of the energy of all modules that rank 1, 2, … r holds."""
    sentence: str
    notes: tuple[str, ...]
    modules: tuple[ModuleRanks, ...]


def rank_report(path: Path) -> RankReport:
    """Measure the adapter at ``path`` (a folder or zip, made here or by PEFT).

    Energy is ‖ΔW‖² in the Frobenius norm, the sum of the squared singular values; the share that
    the first k of them hold is what the best approximation of rank k keeps. Some seconds for a
    large model; the model itself is not needed.

    Raises:
        AdapterError: it is no adapter, or one without low-rank pairs.
    """
    adapter = adapter_files.read(path)
    pairs, _ = pairs_of(adapter)
    values = {name: pair.singular_values() for name, pair in pairs.items()}
    r = max(pair.r for pair in pairs.values())
    energies = torch.zeros(r, dtype=torch.float64)
    for found in values.values():
        energies[: len(found)] += found.square()
    total = float(energies.sum())
    rank_90, rank_99 = _rank_for(energies, 0.9), _rank_for(energies, 0.99)
    return RankReport(
        r=r,
        rank_90=rank_90,
        rank_99=rank_99,
        kept=tuple((energies.cumsum(0) / total).tolist()) if total else (),
        sentence=_sentence(r, rank_90, rank_99),
        notes=tuple(_notes(adapter)),
        modules=tuple(
            ModuleRanks(
                name=name,
                r=pairs[name].r,
                rank_90=_rank_for(found.square(), 0.9),
                rank_99=_rank_for(found.square(), 0.99),
                share=float(found.square().sum()) / total if total else 0.0,
                singular_values=tuple(found.tolist()),
            )
            for name, found in values.items()
        ),
    )


def _rank_for(energies: Tensor, share: float) -> int:
    """How many of ``energies`` hold ``share`` of their sum; 0 where nothing was learned."""
    total = energies.sum()
    if not total:
        return 0
    return int((energies.cumsum(0) < share * total * (1 - 1e-9)).sum()) + 1


def _sentence(r: int, rank_90: int, rank_99: int) -> str:
    if not rank_90:
        return f"r={r} was paid for; nothing was learned: B·A is zero everywhere."
    if rank_90 == r:
        return f"r={r} was paid for and is used: less than 90 % of what it learned fits below it."
    return (
        f"r={r} was paid for; 90 % of what it learned fits in rank {rank_90}, "
        f"99 % in rank {rank_99}."
    )


def _notes(adapter: Adapter) -> list[str]:
    notes = []
    start = (adapter.training or {}).get("lora", {}).get("init_lora_weights", "")
    if str(start).startswith("pissa"):
        notes.append(
            "It started from the weight's main directions (PiSSA), which are subtracted in the "
            "saved pair: its rank is twice the one that was trained."
        )
    variant = VARIANTS[adapter.lora.variant]
    if variant.vectors:
        notes.append(
            f"{variant.title} also learned a number for each output, which has no rank and is not "
            "counted."
        )
    return notes
