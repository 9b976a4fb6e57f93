"""What can be adapted in a model (no torch)."""

import math
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from lora_engine.config import LoraConfig
from lora_engine.errors import ModelError, SettingsError
from lora_engine.patterns import matches_whole
from lora_engine.registry import METHODS, VARIANTS

ModuleKind = Literal["Linear", "Conv1D", "Embedding", "Conv1d", "Conv2d"]
LINEAR_KINDS = ("Linear", "Conv1D")
ALL_LINEAR = "all-linear"
PROFILE_LABELS = 2
"""Labels of a classifier whose profile is kept; the head's last layer is found by them."""


class TensorInfo(NamedTuple):
    """One parameter tensor of a model."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class ModuleGroup(BaseModel):
    """Modules with the same last name, kind and shape, found at several places of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The last part of the module path, as in ``target_modules``."""
    kind: ModuleKind
    in_features: int
    """Columns of A: inputs of a linear layer, words of an embedding, inputs × kernel of a
    convolution."""
    out_features: int
    has_bias: bool
    is_head: bool = False
    """Whether this is the output head, which ``all-linear`` leaves alone."""
    is_tied: bool = False
    """Whether its weight is the embedding's, and ``tensors`` has it under that name only."""
    paths: tuple[str, ...]
    """Full module paths, in the model's order."""


class Target(NamedTuple):
    """One module that a LoraConfig adapts."""

    path: str
    group: ModuleGroup
    r: int

    def parameters(self, lora: LoraConfig) -> int:
        """What is trained at this module: r · (in + out), and the variant's own vectors."""
        pair = self.r * (self.group.in_features + self.group.out_features)
        return pair + self.group.out_features * len(VARIANTS[lora.variant].vectors)


class ModelProfile(BaseModel):
    """A model's adaptable modules and tensors; the one source of targets and of every count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str
    architecture: str
    """The transformers class, such as ``LlamaForCausalLM``."""
    task: Literal["chat", "classification", "seq2seq"] = "chat"
    default_targets: tuple[str, ...]
    """The modules that are adapted where nothing else is asked for: query and value."""
    always_saved: tuple[str, ...] = ()
    """Modules that are trained whole whatever the settings say: a classifier's fresh head."""
    groups: tuple[ModuleGroup, ...]
    tensors: tuple[TensorInfo, ...]
    """Every parameter of the base model; a shared tensor appears once."""
    notes: tuple[str, ...] = ()
    """Sentences on what of the model cannot be adapted, and why."""

    @cached_property
    def total_parameters(self) -> int:
        """All parameters of the base model."""
        return sum(tensor.size for tensor in self.tensors)

    @cached_property
    def has_biases(self) -> bool:
        """Whether ``bias="all"`` would train anything."""
        return any(is_bias(tensor.name) for tensor in self.tensors)

    @cached_property
    def linear_names(self) -> tuple[str, ...]:
        """The names that ``all-linear`` stands for."""
        found = (g.name for g in self.groups if g.kind in LINEAR_KINDS and not g.is_head)
        return tuple(dict.fromkeys(found))

    def targets(self, lora: LoraConfig) -> tuple[str, ...] | str:
        """What ``target_modules`` says in full: names, or a regular expression.

        Raises:
            SettingsError: no module, or one that this model does not have.
        """
        wanted = lora.target_modules
        if wanted is None:
            return self.default_targets
        if wanted == ALL_LINEAR:
            return self.linear_names
        if not wanted:
            raise SettingsError(
                "lora.target_modules", "Choose at least one target module, or nothing is learned."
            )
        if isinstance(wanted, str):
            return wanted
        for name in wanted:
            if not self.has_target(name):
                raise SettingsError(
                    "lora.target_modules",
                    f"This model has no module named {name!r}; it has "
                    f"{', '.join(sorted({group.name for group in self.groups}))}.",
                )
        return wanted

    def has_target(self, name: str) -> bool:
        """Whether ``name`` in ``target_modules`` would match a module."""
        return any(_is_named(path, (name,)) for group in self.groups for path in group.paths)

    def matching(self, lora: LoraConfig) -> LoraConfig:
        """``lora`` without names that match no module: PEFT passes over them, so an adapter made
        elsewhere may have some."""
        if not isinstance(lora.target_modules, tuple):
            return lora
        there = tuple(name for name in lora.target_modules if self.has_target(name))
        return lora.model_copy(update={"target_modules": there or lora.target_modules})

    def adapted(self, lora: LoraConfig) -> list[Target]:
        """The modules that ``lora`` adapts, in the order of the groups.

        Raises:
            SettingsError: the settings name no module of this model.
        """
        wanted = self.targets(lora)
        saved = self.saved_modules(lora)
        found = [
            Target(path, group, lora.rank_of(path))
            for group in self.groups
            for path in group.paths
            if _matches(path, wanted)
            and _in_layers(path, lora.layers_to_transform)
            and not is_inside(f"{path}.weight", saved)
        ]
        if not found:
            raise SettingsError(
                "lora.target_modules", "These settings choose no module of this model."
            )
        return found

    def saved_modules(self, lora: LoraConfig) -> tuple[str, ...]:
        """Names of the modules that are trained whole.

        Raises:
            SettingsError: one that this model does not have, or that holds attention.
        """
        names = tuple(dict.fromkeys((*self.always_saved, *(lora.modules_to_save or ()))))
        for name in names:
            if not self.has_module(name):
                raise SettingsError(
                    "lora.modules_to_save", f"This model has no module named {name!r} to save."
                )
            # a second copy of attention would need a second cache of keys and values
            if any(name in path.split(".")[:-1] for path in self._attention):
                raise SettingsError(
                    "lora.modules_to_save",
                    f"{name!r} holds the model's attention, which cannot be trained whole beside "
                    "pairs; choose modules within it, or method freeze.",
                )
        return names

    @cached_property
    def _attention(self) -> tuple[str, ...]:
        """Paths of the modules that attention reads its queries and values from."""
        return tuple(p for g in self.groups if g.name in self.default_targets for p in g.paths)

    def with_labels(self, count: int) -> "ModelProfile":
        """The profile of a classifier of two labels, for ``count`` labels."""
        if self.task != "classification" or count == PROFILE_LABELS:
            return self
        tensors = (
            tensor._replace(shape=(count, *tensor.shape[1:]))
            if is_inside(tensor.name, self.always_saved) and tensor.shape[0] == PROFILE_LABELS
            else tensor
            for tensor in self.tensors
        )
        # constructed, not copied: a copy would keep the totals of two labels
        return ModelProfile.model_construct(**dict(self) | {"tensors": tuple(tensors)})

    def has_module(self, name: str) -> bool:
        """Whether a module with parameters has this last name."""
        return bool(self.tensors_of((name,)))

    def tensors_of(self, modules: Iterable[str]) -> list[TensorInfo]:
        """What belongs to modules of these last names, in the model's order."""
        names = set(modules)
        return [t for t in (*self.tensors, *self.tied) if is_inside(t.name, names)]

    @cached_property
    def tied(self) -> tuple[TensorInfo, ...]:
        """The weight of a head that shares the embedding's, under the head's name."""
        return tuple(
            TensorInfo(f"{path}.weight", shape, dtype)
            for group in self.groups
            for path in group.paths
            if group.is_tied
            for shape in [(group.out_features, group.in_features)]
            for dtype in [next(t.dtype for t in self.tensors if t.shape == shape)]
        )

    @classmethod
    def read(cls, path: Path) -> "ModelProfile":
        """Read a cached profile; raises ModelError where it cannot be used."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError):
            raise ModelError(f"The model profile {path.name} cannot be read.") from None


def trained_in_place(profile: ModelProfile, lora: LoraConfig) -> list[TensorInfo]:
    """The tensors that are trained themselves: with method freeze those of the last layers (and
    a fresh head), with full and galore all.

    Raises:
        SettingsError: the model has fewer layers than are to be trained.
    """
    if METHODS[lora.method].trains == "everything":
        return list(profile.tensors)
    stack, count = layer_stack(profile.tensors)
    first = count - lora.freeze_trainable_layers
    if first < 0:
        raise SettingsError(
            "lora.freeze_trainable_layers",
            f"This model has {count} layers; choose at most so many to train.",
        )
    layers = tuple(f"{stack}.{number}." for number in range(first, count))
    return [
        tensor
        for tensor in profile.tensors
        if tensor.name.startswith(layers) or is_inside(tensor.name, profile.always_saved)
    ]


def layer_stack(tensors: Iterable[TensorInfo]) -> tuple[str, int]:
    """The path of a model's main stack of layers, such as ``model.layers``, and its height."""
    sizes: dict[str, int] = {}
    heights: dict[str, int] = {}
    for tensor in tensors:
        if found := re.match(r"(.*?)\.(\d+)\.", tensor.name):
            stack, number = found.group(1), int(found.group(2))
            sizes[stack] = sizes.get(stack, 0) + tensor.size
            heights[stack] = max(heights.get(stack, 0), number + 1)
    stack = max(sizes, key=lambda name: sizes[name], default="")
    return stack, heights.get(stack, 0)


def is_bias(parameter_name: str) -> bool:
    """Whether ``bias="all"`` trains the parameter of this name."""
    return parameter_name == "bias" or parameter_name.endswith(".bias")


def _matches(path: str, wanted: tuple[str, ...] | str) -> bool:
    if isinstance(wanted, str):
        return matches_whole(wanted, path)
    return _is_named(path, wanted)


def _is_named(path: str, names: Iterable[str]) -> bool:
    """Whether ``path`` is or ends with one of ``names``, at a dot."""
    return any(path == name or path.endswith(f".{name}") for name in names)


def _in_layers(path: str, layers: tuple[int, ...] | None) -> bool:
    if layers is None:
        return True
    found = re.match(r".*?\.(\d+)\.", path)
    return found is not None and int(found.group(1)) in layers


def is_inside(tensor_name: str, modules: Iterable[str]) -> bool:
    """Whether a tensor belongs to one of ``modules``, by the module's last name."""
    return not set(modules).isdisjoint(tensor_name.split(".")[:-1])
