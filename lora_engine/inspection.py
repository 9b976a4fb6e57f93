"""Find what can be adapted in a model, from its config alone, on the meta device (no weights)."""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lora_engine.errors import ModelError
from lora_engine.profile import ModelProfile, ModuleGroup, ModuleKind

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


def build_profile(folder: Path, base_model: str) -> ModelProfile:
    """Profile the model whose ``config.json`` lies in ``folder``.

    Raises:
        ModelError: the config is missing, broken, or of a family that transformers does not know.
    """
    return profile_model(meta_model(folder), base_model)


def meta_model(folder: Path) -> PreTrainedModel:
    """The model of ``folder/config.json`` with every tensor on the meta device.

    Code from a model repository is never run. Raises ModelError.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(
            f"The model in {folder} cannot be used: its config.json does not describe "
            f"a text-generating model that this version knows ({_first_line(error)})."
        ) from error
    return model


def profile_model(model: PreTrainedModel, base_model: str) -> ModelProfile:
    """Profile a model object; the output head is not offered as a target."""
    head = model.get_output_embeddings()
    groups: dict[tuple[str, ModuleKind, int, int, bool], list[str]] = {}
    for path, module in model.named_modules():
        found = adaptable(module)
        if found is None or module is head:
            continue
        kind, in_features, out_features = found
        name = path.rpartition(".")[2]
        has_bias = getattr(module, "bias", None) is not None
        groups.setdefault((name, kind, in_features, out_features, has_bias), []).append(path)
    if not groups:
        raise ModelError("This model has no linear layer that could be adapted.")
    names = {key[0] for key in groups}
    return ModelProfile(
        base_model=base_model,
        architecture=type(model).__name__,
        total_parameters=sum(p.numel() for p in model.parameters()),
        bias_parameters=sum(p.numel() for name, p in model.named_parameters() if is_bias(name)),
        default_targets=next(
            (usual for usual in USUAL_TARGETS if names.issuperset(usual)), tuple(sorted(names))
        ),
        groups=tuple(
            ModuleGroup(
                name=name,
                kind=kind,
                in_features=in_features,
                out_features=out_features,
                has_bias=has_bias,
                paths=tuple(paths),
            )
            for (name, kind, in_features, out_features, has_bias), paths in groups.items()
        ),
    )


def adaptable(module: nn.Module) -> tuple[ModuleKind, int, int] | None:
    """Kind, in_features and out_features of a module that LoRA can wrap, else None."""
    if isinstance(module, Conv1D):  # GPT-2's linear layer, weight stored as in × out
        return "Conv1D", module.nx, module.nf
    if isinstance(module, nn.Linear):
        return "Linear", module.in_features, module.out_features
    return None


def is_bias(parameter_name: str) -> bool:
    """Whether ``bias="all"`` trains the parameter of this name."""
    return parameter_name == "bias" or parameter_name.endswith(".bias")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
