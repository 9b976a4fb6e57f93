"""Exact parameter counts by plain arithmetic (no torch)."""

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict

from lora_engine.config import LoraConfig
from lora_engine.errors import SettingsError
from lora_engine.patterns import matches_end
from lora_engine.profile import (
    ModelProfile,
    ModuleGroup,
    Target,
    is_bias,
    is_inside,
    trained_in_place,
)


class ModuleCount(BaseModel):
    """What one name of ``target_modules`` adds (or would add) to the trainable parameters."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    count: int
    """How many modules have this name."""
    each: int
    """Trainable parameters one such module costs (the largest, where they differ)."""
    trainable: int
    """Trainable parameters of all of them together; 0 where the name is not chosen."""


class ParameterCount(BaseModel):
    """Exact counts as the reference implementation prints them."""

    model_config = ConfigDict(frozen=True)

    trainable: int
    total: int
    percent: float
    """100 · trainable / total."""
    adapter_mb: float
    """Size of the saved tensors in float32, in MB of 10**6 bytes."""
    by_module: tuple[ModuleCount, ...]


def count_parameters(profile: ModelProfile, lora: LoraConfig) -> ParameterCount:
    """Count what ``lora`` trains in a model.

    LoRA: r · (in + out) for each adapted module (Hu et al. 2021, section 4.1: A is r × in, B is
    out × r). Bias vectors are trained in place, so they add to ``trainable`` and not to
    ``total``; saved modules are trained as a copy, so they add to both.

    Raises:
        SettingsError: the settings do not fit the model.
    """
    base = profile.total_parameters
    if lora.method == "lora":
        targets = profile.adapted(lora)
        _check_patterns(lora, targets)
        saved = profile.saved_modules(lora)
        added = sum(target.parameters(lora) for target in targets)
        added += sum(tensor.size for tensor in profile.tensors_of(saved))
        trainable, total = added + _biases(profile, targets, saved, lora), base + added
    else:
        targets = []
        trainable = sum(tensor.size for tensor in trained_in_place(profile, lora))
        total = base
    return ParameterCount(
        trainable=trainable,
        total=total,
        percent=100 * trainable / total,
        adapter_mb=trainable * 4 / 1e6,
        by_module=tuple(_by_name(profile.groups, targets, lora)),
    )


def _check_patterns(lora: LoraConfig, targets: list[Target]) -> None:
    """Raise SettingsError for a rank or alpha of its own that no adapted module gets."""
    for field in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(lora, field):
            if not any(matches_end(pattern, target.path) for target in targets):
                raise SettingsError(
                    f"lora.{field}", f"{field} names {pattern!r}, but no adapted module ends so."
                )


def _biases(
    profile: ModelProfile, targets: list[Target], saved: tuple[str, ...], lora: LoraConfig
) -> int:
    if lora.bias == "all":
        return sum(
            tensor.size
            for tensor in profile.tensors
            if is_bias(tensor.name) and not is_inside(tensor.name, saved)
        )
    if lora.bias == "lora_only":
        return sum(target.group.out_features for target in targets if target.group.has_bias)
    return 0


def _by_name(
    groups: Iterable[ModuleGroup], targets: list[Target], lora: LoraConfig
) -> Iterator[ModuleCount]:
    by_name: dict[str, list[ModuleGroup]] = {}
    for group in groups:
        by_name.setdefault(group.name, []).append(group)
    chosen: dict[str, list[int]] = {}
    for target in targets:
        chosen.setdefault(target.group.name, []).append(target.parameters(lora))
    for name, same in by_name.items():
        if name not in chosen and all(g.is_head or g.kind == "Embedding" for g in same):
            continue  # "every module" means every layer between embedding and head
        costs = chosen.get(name) or [Target("", g, lora.r).parameters(lora) for g in same]
        yield ModuleCount(
            name=name,
            kind=same[0].kind,
            count=sum(len(group.paths) for group in same),
            each=max(costs),
            trainable=sum(chosen.get(name, ())),
        )
