"""One adapter from several on the same base model: their weighted sum."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from lora_engine import adapter as adapter_files
from lora_engine import derived
from lora_engine.adapter import Adapter
from lora_engine.adapter_config import COMBINED, TASK, AdapterSettings
from lora_engine.config import MOST_RANK
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.pairs import Pair, joined, pairs_of

Way = Literal["svd", "cat", "linear"]
WAYS: tuple[Way, ...] = ("svd", "cat", "linear")
MOST_WEIGHT = 1000


class Part(NamedTuple):
    """One adapter of a combination."""

    path: Path
    weight: float
    adapter: Adapter
    pairs: dict[str, Pair]


class CombineReport(BaseModel):
    """What came of a combination."""

    model_config = ConfigDict(frozen=True)

    method: Way
    r: int
    modules: int
    """How many modules the result adapts."""
    energy_kept: float
    """Share of the exact weighted sum's ‖ΔW‖² that the result's rank holds; 1 is exact. With
    ``linear``, whose result is another matrix, 1 − ‖difference‖² / ‖sum‖² (may be negative)."""
    sentence: str
    notes: tuple[str, ...]


def combine(
    paths: Sequence[Path],
    weights: Sequence[float],
    out: Path,
    *,
    method: Way = "svd",
    r: int | None = None,
) -> CombineReport:
    """Write the weighted sum of plain LoRA adapters to the folder (or .zip) ``out``.

    With ΔWᵢ = sᵢ·Bᵢ·Aᵢ and weights wᵢ (negative ones subtract):

    - ``svd``: the matrix of rank ``r`` (default: the largest rank of the parts) nearest to
      Σ wᵢ·ΔWᵢ in the Frobenius norm, from QR factors; the best of its size.
    - ``cat``: Σ wᵢ·ΔWᵢ itself, at a rank that is the sum of the parts' ranks.
    - ``linear``: B = Σ √(wᵢ·sᵢ)·Bᵢ and A = Σ √(wᵢ·sᵢ)·Aᵢ, as is common for parts of one rank that
      adapt the same modules. B·A has cross terms, so it is only roughly the sum.

    The three give what the methods of the same names of PEFT's ``add_weighted_adapter`` give. A
    module that a part does not adapt counts as zero there. The result scales by 1.

    Raises:
        WorkbenchError: fewer than two adapters, parts that do not fit each other or hold more
            than low-rank pairs, or ``out`` has something in it.
    """
    if r is not None and (method != "svd" or r < 1):
        raise SettingsError("r", "A rank of at least 1 can be chosen with svd, and only there.")
    derived.check_free(out)
    parts = _read(paths, weights)
    _check_shapes(parts)
    if method == "linear":
        _check_alike(parts)
    ranks = [max(pair.r for pair in part.pairs.values()) for part in parts]
    rank = {"svd": r or max(ranks), "cat": sum(ranks), "linear": max(ranks)}[method]
    if rank > MOST_RANK:
        raise SettingsError("r", f"The sum would have rank {rank}; use svd, up to {MOST_RANK}.")
    kept = lost = 0.0
    tensors: dict[str, Tensor] = {}
    names = list(dict.fromkeys(name for part in parts for name in part.pairs))
    for name in names:
        exact = joined([(p.weight, p.pairs[name]) for p in parts if name in p.pairs])
        pair = _linear(parts, name).padded(rank) if method == "linear" else exact.cut(rank)
        tensors |= pair.tensors(name)
        kept += float(exact.singular_values().square().sum())
        lost += float(joined([(1.0, exact), (-1.0, pair)]).singular_values().square().sum())
    report = _report(parts, method, rank, len(names), 1 - lost / kept if kept else 1.0)
    about = {k: v for k, v in parts[0].adapter.settings.about.items() if k != "quantization"}
    beside = {COMBINED: _made(parts, method), TASK: about}
    derived.write(out, tensors, _config(parts, names, rank), beside)
    return report


def _read(paths: Sequence[Path], weights: Sequence[float]) -> list[Part]:
    if len(paths) < 2:
        raise SettingsError("adapters", "Choose at least two adapters to combine.")
    if len(weights) != len(paths):
        raise SettingsError(
            "weights", f"There are {len(paths)} adapters but {len(weights)} weights: give one each."
        )
    if not all(abs(weight) <= MOST_WEIGHT for weight in weights) or not any(weights):
        raise SettingsError(
            "weights",
            f"The weights must be numbers from -{MOST_WEIGHT} to {MOST_WEIGHT}, at least one of "
            "them not 0.",
        )
    parts = []
    for path, weight in zip(paths, weights, strict=True):
        adapter = adapter_files.read(path)
        pairs, others = pairs_of(adapter)
        if others:
            raise AdapterError(
                f"{path.name} holds more than low-rank pairs ({len(others)} tensors such as "
                f"{next(iter(others))}), and only pairs can be added up."
            )
        parts.append(Part(path, weight, adapter, pairs))
    return parts


def _check_shapes(parts: Sequence[Part]) -> None:
    """Raise AdapterError, naming every module that is of another size in another adapter."""
    shapes: dict[str, tuple[tuple[int, ...], Path]] = {}
    problems = []
    for part in parts:
        for name, pair in part.pairs.items():
            shape = (len(pair.b), *(pair.kernel or pair.a.shape[1:]))
            known, path = shapes.setdefault(name, (shape, part.path))
            if known != shape:
                sizes = ["×".join(map(str, size)) for size in (shape, known)]
                problems.append(
                    f"{name} is {sizes[0]} in {part.path.name}, {sizes[1]} in {path.name}"
                )
    if problems:
        raise AdapterError(f"These adapters are for different models: {'; '.join(problems)}.")


def _check_alike(parts: Sequence[Part]) -> None:
    first = parts[0]
    ranks = {name: pair.r for name, pair in first.pairs.items()}
    for part in parts[1:]:
        if {name: pair.r for name, pair in part.pairs.items()} != ranks:
            raise AdapterError(
                f"{first.path.name} and {part.path.name} differ in ranks or modules, which linear "
                "cannot add; use svd."
            )


def _linear(parts: Sequence[Part], name: str) -> Pair:
    """√(w·s) on both sides of each pair, the sign on A's; a ``Pair`` has s in its b."""
    a, b = [], []
    for part in parts:
        pair, scaling = part.pairs[name], part.adapter.lora.scaling_of(name)
        factor = math.sqrt(abs(part.weight * scaling))
        a.append(math.copysign(factor, part.weight) * pair.a)
        b.append(factor / scaling * pair.b)
    return replace(parts[0].pairs[name], a=sum(a[1:], a[0]), b=sum(b[1:], b[0]))


def _config(parts: Sequence[Part], names: list[str], rank: int) -> dict[str, Any]:
    """The first part's config with the result's ranks and modules."""
    loras = [part.adapter.lora for part in parts]
    by_name = all(
        isinstance(lora.target_modules, tuple) and lora.layers_to_transform is None
        for lora in loras
    )
    targets = [target for lora in loras for target in (lora.target_modules or ())]
    return {
        **(parts[0].adapter.settings.peft or {}),
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "target_modules": list(dict.fromkeys(targets)) if by_name else names,
        "layers_to_transform": None,
        "layers_pattern": None,
        "init_lora_weights": True,
    }


def _made(parts: Sequence[Part], method: Way) -> dict[str, Any]:
    """How it was made; ``base_model``, ``task`` and, where the parts agree, ``quantization`` as in
    a run's own settings."""
    first: AdapterSettings = parts[0].adapter.settings
    return {
        "base_model": (first.training or {}).get("base_model") or first.base_model,
        "task": (first.training or {}).get("task", "auto"),
        "quantization": first.quantization if len(_forms(parts)) == 1 else "none",
        "method": method,
        "parts": [{"adapter": part.path.name, "weight": part.weight} for part in parts],
    }


def _report(parts: Sequence[Part], method: Way, r: int, modules: int, kept: float) -> CombineReport:
    sums = " + ".join(f"{part.weight:g} × {part.path.name}" for part in parts)
    said = "all" if kept > 1 - 1e-6 else f"{round(100 * kept, 1) + 0.0:.1f} %"  # never -0.0
    bases = {part.adapter.settings.base_model for part in parts}
    names = "The adapters name different base models: " + ", ".join(sorted(bases)) + "."
    forms = "Not all were trained on the base in the same bits: the sum is tried on the whole base."
    notes = ((names, len(bases) > 1), (forms, len(_forms(parts)) > 1))
    return CombineReport(
        method=method,
        r=r,
        modules=modules,
        energy_kept=kept,
        sentence=f"{sums}, {modules} modules, rank {r}: {said} of the sum is kept.",
        notes=tuple(note for note, differ in notes if differ),
    )


def _forms(parts: Sequence[Part]) -> set[str]:
    """How the base was held when the parts were trained."""
    return {part.adapter.settings.quantization for part in parts}
