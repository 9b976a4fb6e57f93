"""What can be adapted in a model, and exact parameter counts by plain arithmetic (no torch)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lora_engine.config import LoraConfig
from lora_engine.errors import ModelError, SettingsError

ModuleKind = Literal["Linear", "Conv1D"]


class ModuleGroup(BaseModel):
    """Modules with the same last name, kind and shape, found at several places of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The last part of the module path, as in ``target_modules``."""
    kind: ModuleKind
    in_features: int
    out_features: int
    has_bias: bool
    paths: tuple[str, ...]
    """Full module paths, in the model's order."""


class ModelProfile(BaseModel):
    """A model's adaptable modules and sizes; the one source of the target list and every count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str
    architecture: str
    """The transformers class, such as ``LlamaForCausalLM``."""
    total_parameters: int
    """All parameters of the base model; shared tensors count once."""
    bias_parameters: int
    """Parameters whose name ends in ``bias``, in the whole model."""
    default_targets: tuple[str, ...]
    """The modules that are adapted where nothing else is asked for: query and value."""
    groups: tuple[ModuleGroup, ...]

    def targets(self, lora: LoraConfig) -> tuple[str, ...]:
        """The module names that ``lora`` adapts here.

        Raises:
            SettingsError: no module, or one that this model does not have.
        """
        names = {group.name for group in self.groups}
        chosen = self.default_targets if lora.target_modules is None else lora.target_modules
        if not chosen:
            raise SettingsError(
                "lora.target_modules", "Choose at least one target module, or nothing is learned."
            )
        if unknown := [name for name in chosen if name not in names]:
            raise SettingsError(
                "lora.target_modules",
                f"This model has no module named {unknown[0]!r}; "
                f"it has {', '.join(sorted(names))}.",
            )
        return tuple(chosen)

    @classmethod
    def read(cls, path: Path) -> "ModelProfile":
        """Read a cached profile; raises ModelError where it cannot be used."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            raise ModelError(f"The model profile {path.name} cannot be read.") from None


class ModuleCount(BaseModel):
    """What one name of ``target_modules`` adds (or would add) to the trainable parameters."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    count: int
    """How many modules have this name."""
    each: int
    """Trainable parameters one such module costs (the largest, where shapes differ)."""
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
    """Size of the adapter's tensors in float32, in MB of 10**6 bytes."""
    by_module: tuple[ModuleCount, ...]


def count_parameters(profile: ModelProfile, lora: LoraConfig) -> ParameterCount:
    """Count what ``lora`` trains in a model: r · (in + out) for each adapted module.

    (Hu et al. 2021, section 4.1: A is r × in, B is out × r.) Bias vectors are trained in place,
    so they add to ``trainable`` and not to ``total``.

    Raises:
        SettingsError: the target modules do not fit the model.
    """
    targets = set(profile.targets(lora))
    chosen = [group for group in profile.groups if group.name in targets]
    low_rank = sum(_pair_size(group, lora) * len(group.paths) for group in chosen)
    match lora.bias:
        case "none":
            biases = 0
        case "all":
            biases = profile.bias_parameters
        case "lora_only":
            biases = sum(g.out_features * len(g.paths) for g in chosen if g.has_bias)
    trainable = low_rank + biases
    total = profile.total_parameters + low_rank
    return ParameterCount(
        trainable=trainable,
        total=total,
        percent=100 * trainable / total,
        adapter_mb=trainable * 4 / 1e6,
        by_module=tuple(_by_name(profile.groups, targets, lora)),
    )


def _pair_size(group: ModuleGroup, lora: LoraConfig) -> int:
    return lora.r * (group.in_features + group.out_features)


def _by_name(
    groups: Iterable[ModuleGroup], targets: set[str], lora: LoraConfig
) -> Iterable[ModuleCount]:
    by_name: dict[str, list[ModuleGroup]] = {}
    for group in groups:
        by_name.setdefault(group.name, []).append(group)
    for name, same in by_name.items():
        yield ModuleCount(
            name=name,
            kind=same[0].kind,
            count=sum(len(group.paths) for group in same),
            each=max(_pair_size(group, lora) for group in same),
            trainable=sum(_pair_size(g, lora) * len(g.paths) for g in same)
            if name in targets
            else 0,
        )
