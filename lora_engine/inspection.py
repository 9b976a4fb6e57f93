"""Find what can be adapted in a model, from its config alone, on the meta device (no weights)."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from lora_engine.errors import ModelError, first_line
from lora_engine.folders import tensor_formats
from lora_engine.lora.paths import path_class
from lora_engine.profile import LINEAR_KINDS, ModelProfile, ModuleGroup, ModuleKind, TensorInfo

AUTO_CLASSES: dict[str, Any] = {
    "chat": AutoModelForCausalLM,
    "text": AutoModelForCausalLM,
    "classification": AutoModelForSequenceClassification,
    "seq2seq": AutoModelForSeq2SeqLM,
}
"""How transformers loads a model for each task."""

# Query and value, as in the paper (Hu et al. 2021, table 5), by the names that families use;
# fused projections hold both.
USUAL_TARGETS = (
    ("q_proj", "v_proj"),
    ("query", "value"),
    ("q", "v"),
    ("q_lin", "v_lin"),
    ("query_proj", "value_proj"),
    ("query_key_value",),
    ("qkv_proj",),
    ("c_attn",),
    ("Wqkv",),
)
HEADS = ("pooler", "pre_classifier", "classifier", "score", "classification_head")
"""The names of the parts of a classifier's head beside its body: no checkpoint has them, so they
are fresh and always trained whole."""
BETWEEN = ("pooler", "head")
"""Parts between body and head that some checkpoints have and others do not."""


def build_profile(
    folder: Path, base_model: str, task: str | None = None, num_labels: int = 2
) -> ModelProfile:
    """Profile the model whose ``config.json`` lies in ``folder``.

    ``task`` decides the head; None means what the model was made for (``usual_task``).

    Raises:
        ModelError: the config is missing, broken, or of a family that transformers does not know.
    """
    model = meta_model(folder, task, num_labels)
    return profile_model(model, base_model, parts_without_weights(model, folder))


def model_task(folder: Path) -> str:
    """What the model of ``folder/config.json`` was made for: ``chat``, ``seq2seq`` or
    ``classification``. Raises ModelError.
    """
    try:
        return usual_task(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(
            f"The model in {folder} cannot be used: its config.json does not describe a model "
            f"that this version knows ({first_line(error)})."
        ) from error


def meta_model(folder: Path, task: str | None = None, num_labels: int = 2) -> PreTrainedModel:
    """The model of ``folder/config.json`` with every tensor on the meta device.

    Code from a model repository is never run. Raises ModelError.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        task = task or usual_task(config)
        if task == "classification":
            config.num_labels = num_labels
        with torch.device("meta"):
            model: PreTrainedModel = AUTO_CLASSES[task].from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(
            f"The model in {folder} cannot be used: its config.json does not describe a model "
            f"for {task or 'text'} that this version knows ({first_line(error)})."
        ) from error
    return model


def usual_task(config: Any) -> str:
    """What a model of this config is for: ``chat``, ``seq2seq`` or ``classification``.

    Raises:
        ValueError: none of them.
    """
    if type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING and config.is_encoder_decoder:
        return "seq2seq"
    encoders = any("ForMaskedLM" in str(name) for name in config.architectures or ())
    is_encoder = encoders or config.model_type in ENCODERS
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not is_encoder:
        return "chat"
    if type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return "classification"
    raise ValueError(f"a {config.model_type} model is for something else")


ENCODERS = ("bert", "roberta", "distilbert", "deberta", "deberta-v2", "electra", "albert", "mpnet",
            "xlm-roberta", "camembert", "modernbert", "nomic_bert", "ernie")  # fmt: skip
"""Model types that read a whole text at once, though some also have a causal class."""


def profile_model(
    model: PreTrainedModel, base_model: str, absent: tuple[str, ...] = ()
) -> ModelProfile:
    """Profile a model object.

    ``absent`` are parts that the model's files do not have (``parts_without_weights``).

    Raises:
        ModelError: it has no linear layer.
    """
    head = model.get_output_embeddings()
    tied = head is not None and head.weight is model.get_input_embeddings().weight
    groups: dict[ModuleGroup, list[str]] = {}
    always_saved = tuple(dict.fromkeys((*fresh_heads(model), *absent)))
    for path, module in model.named_modules():
        found = adaptable(module)
        if found is None or _inside(path, always_saved):
            continue
        kind, in_features, out_features = found
        group = ModuleGroup(
            name=path.rpartition(".")[2],
            kind=kind,
            in_features=in_features,
            out_features=out_features,
            has_bias=getattr(module, "bias", None) is not None,
            is_head=module is head,
            is_tied=module is head and tied,
            paths=(),
        )
        groups.setdefault(group, []).append(path)
    names = {group.name for group in groups if group.kind in LINEAR_KINDS and not group.is_head}
    if not names:
        raise ModelError("This model has no linear layer that could be adapted.")
    return ModelProfile(
        base_model=base_model,
        architecture=type(model).__name__,
        task=_task_of(model),
        default_targets=next(
            (usual for usual in USUAL_TARGETS if names.issuperset(usual)), tuple(sorted(names))
        ),
        always_saved=always_saved,
        groups=tuple(
            group.model_copy(update={"paths": tuple(groups[group])})
            for group in sorted(groups, key=_rank)
        ),
        tensors=tuple(
            TensorInfo(name, tuple(p.shape), str(p.dtype).removeprefix("torch."))
            for name, p in model.named_parameters()
        ),
        notes=_notes(model),
    )


def parts_without_weights(model: PreTrainedModel, folder: Path) -> tuple[str, ...]:
    """The parts of a classifier, such as BERT's pooler, that the files in ``folder`` do not have,
    because the model was saved without a classifier's head. They are drawn at random, so an
    adapter is worth nothing without them. None where no weights are there yet.
    """
    if _task_of(model) != "classification":
        return ()
    try:
        names = tensor_formats(folder)
    except ModelError:
        return ()
    children = (*model.named_children(), *model.base_model.named_children())
    there = parts_in(names)
    return tuple(name for name, _ in children if name in BETWEEN and name not in there)


def parts_in(names: Iterable[str]) -> tuple[str, ...]:
    """Which of ``BETWEEN`` the tensors of these names belong to."""
    parts = {part for name in names for part in name.split(".")}
    return tuple(part for part in BETWEEN if part in parts)


def fresh_heads(model: nn.Module) -> tuple[str, ...]:
    """The names of a classifier's head; none for other models."""
    return tuple(name for name, _ in model.named_children() if name in HEADS)


def adaptable(module: nn.Module) -> tuple[ModuleKind, int, int] | None:
    """Kind, columns of A and rows of B for a module that LoRA can wrap, else None."""
    path = path_class(module)
    if path is None or (isinstance(module, nn.Linear) and not is_plain(module)):
        return None
    a, b = path.shapes(module, 1)
    kind = next(kind for kind, layer in KINDS.items() if isinstance(module, layer))
    return kind, math.prod(a), math.prod(b)


def is_plain(layer: nn.Linear) -> bool:
    """Whether a layer gives what its weight says; a router made of one gives scores and choices."""
    kind = type(layer)
    if kind.forward is nn.Linear.forward or kind.__module__.startswith("bitsandbytes"):
        return True
    with torch.no_grad():
        found = layer(layer.weight.new_zeros(1, layer.in_features))
    return isinstance(found, torch.Tensor) and found.shape == (1, layer.out_features)


KINDS: dict[ModuleKind, type[nn.Module]] = {
    "Conv1D": Conv1D,
    "Linear": nn.Linear,
    "Embedding": nn.Embedding,
    "Conv1d": nn.Conv1d,
    "Conv2d": nn.Conv2d,
}


def _rank(group: ModuleGroup) -> int:
    """Linear layers come first, then the head, then the rest."""
    return (1 if group.is_head else 0) if group.kind in LINEAR_KINDS else 2


def _task_of(model: PreTrainedModel) -> Any:
    name = type(model).__name__
    if "SequenceClassification" in name:
        return "classification"
    return "seq2seq" if model.config.is_encoder_decoder else "chat"


def _inside(path: str, modules: tuple[str, ...]) -> bool:
    return not set(modules).isdisjoint(path.split("."))


def _notes(model: PreTrainedModel) -> tuple[str, ...]:
    """What of the model LoRA cannot reach: experts held as one 3-D tensor, not as layers."""
    stacked = [name for name, p in model.named_parameters() if p.dim() == 3 and "expert" in name]
    if not stacked:
        return ()
    return (
        f"The experts of this model ({len(stacked)} tensors such as {stacked[0]}) are held as "
        "stacked parameters, not as layers, so they stay as they are; attention can be adapted.",
    )
