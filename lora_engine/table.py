"""Every tensor of a model before and after injection, as the reference prints them (no torch)."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from lora_engine.config import LoraConfig
from lora_engine.patterns import is_found
from lora_engine.profile import ModelProfile, Target, TensorInfo, is_bias, trained_in_place
from lora_engine.registry import VARIANTS

PREFIX = "base_model.model."
ADAPTER_DTYPE = "float32"


class TensorRow(NamedTuple):
    """One parameter tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.shape))
        trained = "trainable" if self.trainable else "frozen"
        return f"{self.name}  [{shape}]  {self.dtype}  {trained}"


def tensor_table(profile: ModelProfile, lora: LoraConfig | None = None) -> list[TensorRow]:
    """One row a parameter, in the model's order: name, shape, dtype, whether it is trained.

    Without ``lora`` that is the model as it is loaded, all of it ready to be trained. With
    ``lora`` it is what PEFT's ``named_parameters`` gives after injection: frozen weights of
    adapted modules as ``….base_layer.weight``, then A (r × in) as ``….lora_A.default.weight``, B
    (out × r) as ``….lora_B.default.weight``, and saved modules twice, as they were and as they
    are trained. Methods other than LoRA add nothing; they choose which weights are trained.

    Raises:
        SettingsError: the settings do not fit the model.
    """
    if lora is None:
        return [TensorRow(*tensor, trainable=True) for tensor in profile.tensors]
    if lora.method != "lora":
        trained = {tensor.name for tensor in trained_in_place(profile, lora)}
        return [TensorRow(*t, trainable=t.name in trained) for t in profile.tensors]
    return list(_injected(profile, lora))


def filtered(rows: Iterable[TensorRow], text: str) -> list[TensorRow]:
    """The rows whose name has ``text`` in it, or a match for it as a regular expression."""
    low = text.lower()
    try:
        return [row for row in rows if low in row.name.lower() or is_found(text, row.name)]
    except ValueError:
        return [row for row in rows if low in row.name.lower()]


def _injected(profile: ModelProfile, lora: LoraConfig) -> Iterator[TensorRow]:
    targets = {target.path: target for target in profile.adapted(lora)}
    saved = profile.saved_modules(lora)

    def owner(tensor: TensorInfo) -> str:
        """The adapted or saved module that a tensor belongs to, else nothing."""
        *parts, _ = tensor.name.split(".")
        inside = next((i for i, part in enumerate(parts) if part in saved), None)
        path = ".".join(parts if inside is None else parts[: inside + 1])
        return path if path in targets or inside is not None else ""

    for path, group in groupby(profile.tensors, owner):
        tensors = list(group)
        if path in targets:
            yield from _adapted(targets[path], tensors, lora)
        elif path:
            yield from _saved(path, tensors)
        else:
            for tensor in tensors:
                trained = lora.bias == "all" and is_bias(tensor.name)
                yield TensorRow(PREFIX + tensor.name, tensor.shape, tensor.dtype, trained)
    for tensor in profile.tied:  # frozen, it stands with the embedding
        path = owner(tensor)
        rows = (
            _adapted(targets[path], [tensor], lora) if path in targets else _saved(path, [tensor])
        )
        yield from (row for row in rows if path and row.trainable)


def _adapted(target: Target, tensors: list[TensorInfo], lora: LoraConfig) -> Iterator[TensorRow]:
    for tensor in tensors:
        kind = tensor.name.rpartition(".")[2]
        name = f"{PREFIX}{target.path}.base_layer.{kind}"
        trained = kind == "bias" and lora.bias != "none"
        yield TensorRow(name, tensor.shape, tensor.dtype, trained)
    weight = next(t.shape for t in tensors if t.name.endswith("weight"))
    for part, shape in _added(target, weight, lora):
        yield TensorRow(f"{PREFIX}{target.path}.{part}", shape, ADAPTER_DTYPE, True)


def _added(
    target: Target, weight: tuple[int, ...], lora: LoraConfig
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A, B and the variant's vectors of one module; its base weight has shape ``weight``."""
    kind, r = target.group.kind, target.r
    columns, rows = target.group.in_features, target.group.out_features
    ones = (1,) * (len(weight) - 2)
    if kind == "Embedding":
        yield "lora_embedding_A.default", (r, columns)
        yield "lora_embedding_B.default", (rows, r)
    else:
        a = (r, *weight[1:]) if kind.startswith("Conv") and ones else (r, columns)
        yield "lora_A.default.weight", a
        yield "lora_B.default.weight", (rows, r, *ones)
    for vector in VARIANTS[lora.variant].vectors:
        yield f"{vector}.default.weight", (1, rows, *ones) if ones else (rows,)


def _saved(path: str, tensors: list[TensorInfo]) -> Iterator[TensorRow]:
    for copy, trained in (("original_module", False), ("modules_to_save.default", True)):
        for tensor in tensors:
            name = f"{PREFIX}{path}.{copy}{tensor.name.removeprefix(path)}"
            yield TensorRow(name, tensor.shape, tensor.dtype, trained)
