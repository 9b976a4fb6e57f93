"""What an adapter's folder or zip says about it, read and written in PEFT's words (no torch)."""

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_engine.config import LoraConfig, Quantization
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.profile import ModelProfile
from lora_engine.registry import SWITCHES

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
CHANGED = "changed_weights.safetensors"
TRAINING = "train_config.json"
COMBINED = "combined.json"
TASK = "task.json"
"""Says what PEFT's files do not: what was learned, with a classifier's labels; of an adapter made
elsewhere also how its base was held."""
TASKS = ("chat", "text", "classification", "seq2seq")
TASK_TYPES = {"chat": "CAUSAL_LM", "classification": "SEQ_CLS", "seq2seq": "SEQ_2_SEQ_LM"}
UNKNOWN_HERE = (
    "lora_bias",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "exclude_modules",
    "megatron_config",
    "alora_invocation_tokens",
)
"""Settings of PEFT that change what an adapter's tensors mean."""
CHANGES_THE_BASE = ("olora", "corda", "lora_ga")
"""Starts of PEFT that move a part of the base weights into the pair."""
CONVERTED = (
    "save it with PEFT's path_initial_model_for_weight_conversion, which makes it fit the base "
    "itself."
)


DAMAGED = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""What zipfile raises for files that are damaged, encrypted or packed in a way it cannot read."""


@dataclass(frozen=True)
class AdapterSettings:
    """An adapter without its tensors."""

    lora: LoraConfig
    base_model: str
    """``base_model_name_or_path``: a folder or hub id."""
    revision: str | None
    training: dict[str, Any] | None
    """The run's TrainConfig as JSON, where the adapter was made here; of a combination only
    ``base_model``, ``task`` and ``quantization``, and of what it was made."""
    peft: dict[str, Any] | None
    """``adapter_config.json`` as it lies there; None where weights were trained in place."""
    about: dict[str, Any] = field(default_factory=dict)
    """``task.json``: ``task``, of a classifier ``labels``, and ``quantization`` where a person has
    said it; empty where there is none."""

    @property
    def task(self) -> str:
        """What was learned: ``chat``, ``text``, ``classification`` or ``seq2seq``."""
        said = self.about.get("task") or (self.training or {}).get("task")
        if said in TASKS:
            return str(said)
        task_type = (self.peft or {}).get("task_type")
        return next((task for task, name in TASK_TYPES.items() if name == task_type), "chat")

    @property
    def labels(self) -> tuple[str, ...]:
        """A classifier's labels in the order of its outputs; empty where nobody wrote them down."""
        return tuple(map(str, self.about.get("labels") or ()))

    @property
    def quantization(self) -> Quantization:
        """How its base was held in training; ``none`` where the adapter does not say."""
        said = self.about.get("quantization") or (self.training or {}).get("quantization")
        return str(said or "none")

    def trained_with(self, setting: str, default: int) -> int:
        """A whole number of its run's settings; ``default`` where they say none."""
        said = (self.training or {}).get(setting)
        return said if isinstance(said, int) and said > 0 else default

    @property
    def weights(self) -> str:
        """The name of the file that holds the tensors."""
        return CHANGED if self.peft is None else WEIGHTS

    def base_model_name(self, path: Path) -> str:
        """The base model that the adapter at ``path`` names, first as its own run called it.

        Raises:
            AdapterError: it names none.
        """
        name = (self.training or {}).get("base_model") or self.base_model
        # the run's own name may have been a folder beside where it was started
        if name and not Path(str(name)).exists() and Path(self.base_model).is_absolute():
            name = self.base_model
        if not name:
            raise AdapterError(f"{path.name} names no base model; give one with --base-model.")
        return str(name)


def read_settings(path: Path) -> AdapterSettings:
    """Read what an adapter folder or zip, made here or by PEFT, says of itself.

    Raises:
        AdapterError: it is no LoRA adapter, or uses something unknown here.
    """
    training = next(filter(None, (_read_json(path, f, False) for f in (TRAINING, COMBINED))), None)
    training = training if isinstance(training, dict) else None
    config = _read_json(path, CONFIG, required=False)
    about = _about(path)
    try:
        if config is None and training and training.get("lora", {}).get("method") != "lora":
            lora = LoraConfig.parse(training["lora"])
            return AdapterSettings(lora, str(training["base_model"]), None, training, None, about)
        config = config or _read_json(path, CONFIG)
        lora = _lora_config(path, config)
    except KeyError as error:
        raise AdapterError(f"{path.name} has an unusable {CONFIG}: it has no {error}.") from None
    except (TypeError, AttributeError, SettingsError) as error:
        raise AdapterError(f"{path.name} has an unusable {CONFIG}: {error}") from None
    base_model = str(config.get("base_model_name_or_path") or "")
    return AdapterSettings(lora, base_model, config.get("revision"), training, config, about)


def _about(path: Path) -> dict[str, Any]:
    """``task.json``; raises AdapterError where it says what nobody can follow."""
    said = _read_json(path, TASK, required=False)
    if said is None:
        return {}
    known = isinstance(said, dict) and said.get("task") in (None, *TASKS)
    labels = said.get("labels") if known else None
    if not known or not (labels is None or _are_labels(labels)):
        raise AdapterError(
            f"{path.name} has an unusable {TASK}: it must be an object with a task of "
            f"{', '.join(TASKS)}, and labels, if any, must be a list of two or more different ones."
        )
    return dict(said)


def _are_labels(said: Any) -> bool:
    return isinstance(said, list) and len(set(map(str, said))) == len(said) > 1


def peft_config(lora: LoraConfig, profile: ModelProfile) -> dict[str, Any]:
    """``lora`` in the keys of PEFT's ``adapter_config.json``, for the model of ``profile``."""
    targets = profile.targets(lora)
    saved = profile.saved_modules(lora)
    layers = lora.layers_to_transform
    return {
        "peft_type": "LORA",
        "task_type": TASK_TYPES[profile.task],
        "r": lora.r,
        "lora_alpha": whole(lora.lora_alpha),
        "lora_dropout": lora.lora_dropout,
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "bias": lora.bias,
        "modules_to_save": list(saved) or None,
        "use_rslora": lora.use_rslora,
        **{name: getattr(lora, name) for name in SWITCHES},
        "rank_pattern": lora.rank_pattern,
        "alpha_pattern": lora.alpha_pattern,
        "layers_to_transform": list(layers) if layers is not None else None,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def whole(number: float) -> int | float:
    """``number`` as an int where it is one: other tools print it."""
    return int(number) if float(number).is_integer() else number


def read_member(path: Path, name: str) -> bytes:
    """One file of an adapter folder or zip (at its top, or in its only folder).

    Raises:
        AdapterError: it has no such file, or is neither a folder nor a zip.
    """
    if not path.exists():
        raise AdapterError(f"There is no adapter at {path}.")
    try:
        if path.is_dir():
            return (path / name).read_bytes()
        with zipfile.ZipFile(path) as zipped:
            found = [m for m in zipped.namelist() if m == name or m.endswith(f"/{name}")]
            if found:
                return zipped.read(min(found, key=len))
    except FileNotFoundError:
        pass
    except DAMAGED:
        raise AdapterError(f"{path.name} is neither a folder nor a zip of an adapter.") from None
    raise AdapterError(f"{path.name} is no adapter: it holds no {name}.")


def _lora_config(path: Path, config: Any) -> LoraConfig:
    """The settings in a PEFT config; raises AdapterError, KeyError or SettingsError."""
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterError(f"{path.name} is no LoRA adapter: its {CONFIG} says otherwise.")
    for name in UNKNOWN_HERE:
        if config.get(name):
            raise AdapterError(f"{path.name} uses {name}, which is not supported here.")
    start = str(config.get("init_lora_weights"))
    if start in CHANGES_THE_BASE:
        raise AdapterError(
            f"{path.name} belongs to a base whose weights its start has changed "
            f"(init_lora_weights={start}); {CONVERTED}"
        )
    if start == "loftq":
        raise AdapterError(
            f"{path.name} belongs to a base that LoftQ has rounded (init_lora_weights={start}), "
            "which PEFT cannot undo in the adapter: merge the two with PEFT and bring that model, "
            "or train anew here with the LoftQ start."
        )
    if start.startswith("pissa_"):
        raise AdapterError(
            f"{path.name} begins with directions that are drawn anew at each load "
            f"(init_lora_weights={start}), so that what it was trained beside is gone; {CONVERTED}"
        )
    targets = config.get("target_modules")
    layers = config.get("layers_to_transform")
    values = {
        "target_modules": targets if isinstance(targets, str) else sorted(targets or ()),
        "modules_to_save": config.get("modules_to_save"),
        # a PiSSA pair as PEFT trains it counts from the weight's own directions
        "init_lora_weights": start if start == "pissa" else "kaiming",
        "use_rslora": bool(config.get("use_rslora")),
        **{name: bool(config.get(name)) for name in SWITCHES},
        "rank_pattern": config.get("rank_pattern") or {},
        "alpha_pattern": config.get("alpha_pattern") or {},
        "layers_to_transform": [layers] if isinstance(layers, int) else layers,
    }
    kept = {key: config[key] for key in ("r", "lora_alpha", "lora_dropout", "bias")}
    return LoraConfig.parse(kept | values)


def _read_json(path: Path, name: str, required: bool = True) -> Any:
    try:
        return json.loads(read_member(path, name))
    except AdapterError:
        if required:
            raise
        return None
    except (ValueError, RecursionError):
        raise AdapterError(f"{path.name} has a broken {name}.") from None
