"""The settings of a run: one form, unchanged from the click to the zip."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, create_model, field_validator, model_validator

from lora_engine import patterns, registry
from lora_engine.errors import SettingsError
from lora_engine.settings import Settings

Bias = Literal["none", "all", "lora_only"]
Precision = Literal["auto", "fp32", "bf16"]
Checkpointing = Literal["auto", "on", "off"]
Schedule = Literal["linear", "cosine", "constant"]
Task = Literal["auto", "chat", "text", "classification", "seq2seq"]
Metric = Literal["loss", "accuracy", "f1"]
Method = registry.Method
Optim = registry.Optim
Quantization = registry.Quantization
MOST_RANK = 1024
MOST_ALPHA = 4096


if TYPE_CHECKING:
    Switches = Settings
else:
    Switches = create_model(
        "Switches", __base__=Settings, **dict.fromkeys(registry.SWITCHES, (bool, False))
    )


class LoraConfig(Switches):
    """What is trained of the base model. Names are the keys of PEFT's adapter_config.json.

    Beside the fields below there is ``use_NAME``, false, for every variant of the registry:
    ``use_dora``.
    """

    method: Method = "lora"
    """lora: low-rank pairs beside frozen weights (Hu et al. 2021); freeze: the last layers
    themselves; full: every weight; galore: every weight, with low-rank gradients (Zhao et al.
    2024)."""
    r: Annotated[int, Field(ge=1, le=MOST_RANK)] = 8
    """Rank: how many directions each adapted module can learn."""
    lora_alpha: Annotated[float, Field(gt=0, le=MOST_ALPHA)] = 16
    """Strength: the low-rank path is scaled by lora_alpha / r."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the low-rank path's inputs that is dropped at random while training."""
    target_modules: tuple[str, ...] | str | None = None
    """Names of the modules to adapt; ``all-linear``; a regular expression for whole module
    paths; None means the model's usual ones (query and value)."""
    bias: Bias = "none"
    """Which bias vectors are trained as well."""
    modules_to_save: tuple[str, ...] | None = None
    """Names of modules that are trained whole and saved with the adapter."""
    use_rslora: bool = False
    """Scale by lora_alpha / √r instead, which keeps high ranks stable (Kalajdzievski 2023)."""
    init_lora_weights: str = "kaiming"
    """How A and B start: ``kaiming`` (the paper's), ``gaussian``, ``orthogonal``, ``pissa`` (the
    weight's main directions, Meng et al. 2024; ``pissa_niter_4`` by the fast SVD), ``loftq``
    (what quantisation lost, Li et al. 2023)."""
    loraplus_lr_ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    """LoRA+: B's learning rate as a multiple of A's (Hayou et al. 2024); None means the same."""
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=MOST_RANK)]] = Field(default_factory=dict)
    """Regular expression for the end of a module path → its own rank."""
    alpha_pattern: dict[str, Annotated[float, Field(gt=0, le=MOST_ALPHA)]] = Field(
        default_factory=dict
    )
    """Regular expression for the end of a module path → its own lora_alpha."""
    layers_to_transform: tuple[Annotated[int, Field(ge=0, le=10_000)], ...] | None = None
    """Numbers of the layers to adapt, from 0; None means all."""
    freeze_trainable_layers: Annotated[int, Field(ge=1, le=1000)] = 2
    """With method freeze: how many of the last layers are trained."""
    galore_update_gap: Annotated[int, Field(ge=1, le=100_000)] = 200
    """With method galore: updates between two choices of the r gradient directions."""
    galore_scale: Annotated[float, Field(gt=0, le=10)] = 0.25
    """With method galore: factor on the projected updates."""

    @field_validator("init_lora_weights")
    @classmethod
    def _check_start(cls, setting: str) -> str:
        registry.start_named(setting)
        return setting

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        asked = [variant.title for name, variant in registry.SWITCHES.items() if self._asks(name)]
        if len(asked) > 1:
            raise ValueError(f"Choose one of {' and '.join(asked)}")
        variant = registry.VARIANTS[self.variant]
        if variant.reads_weights and not self.start.beside_reading:
            raise ValueError(
                f"{variant.title} starts from the base weight; use it with the kaiming start"
            )
        if self.loraplus_lr_ratio is not None and registry.METHODS[self.method].trains != "pairs":
            raise ValueError("LoRA+ is about A and B: use it with method lora")
        if self.start.of_directions and not self._can_be_doubled():
            raise ValueError(
                f"{self.start.title} is saved as pairs of twice the rank: r can be at most "
                f"{MOST_RANK // 2} and lora_alpha {MOST_ALPHA // 2}"
            )
        asked_for = [*self.rank_pattern, *self.alpha_pattern]
        if isinstance(self.target_modules, str):
            asked_for.append(self.target_modules)
        for pattern in asked_for:
            patterns.check(pattern)
        return self

    def _can_be_doubled(self) -> bool:
        rank = max([self.r, *self.rank_pattern.values()])
        alpha = max([self.lora_alpha, *self.alpha_pattern.values()])
        return rank <= MOST_RANK // 2 and alpha <= MOST_ALPHA // 2

    @property
    def needs_whole_base(self) -> str:
        """What of it cannot work beside quantised weights, by its name; empty where all can."""
        if self.method != "lora":
            return f"Method {self.method}"
        return self.start.title if self.start.of_directions else ""

    @property
    def start(self) -> registry.Start:
        """How A and B begin, as the registry says it."""
        return registry.STARTS[registry.start_named(self.init_lora_weights)[0]]

    @property
    def variant(self) -> str:
        """How base and pair become one, by its name in the registry."""
        asked = (name for name in registry.VARIANTS if self._asks(f"use_{name}"))
        return next(asked, "plain")

    def _asks(self, name: str) -> bool:
        return bool(getattr(self, name, False))

    def rank_of(self, path: str) -> int:
        """The rank of the module at ``path``."""
        return _by_pattern(self.rank_pattern, path, self.r)

    def scaling_of(self, path: str) -> float:
        """The factor on B·A at ``path``: lora_alpha / r, or lora_alpha / √r with rsLoRA."""
        r = self.rank_of(path)
        alpha = _by_pattern(self.alpha_pattern, path, self.lora_alpha)
        return alpha / math.sqrt(r) if self.use_rslora else alpha / r


class TrainConfig(Settings):
    """Everything that decides a run: made by the form, kept in the job, packed in the zip."""

    base_model: str
    """A starter id, a local folder or a hub id."""
    dataset: str
    """A kept data set's id or the path of a file."""
    roles: dict[str, str] | None = None
    """Role name → column name; None means the roles kept with the data set, or guessed."""
    task: Task = "auto"
    """What is learned; ``auto`` means what the roles say."""
    test_dataset: str | None = None
    """A kept id or a path of rows with the same columns, never trained on, to measure with."""
    class_weights: bool = False
    """Classification: weigh each row by rows / (labels · rows with its label), so that rare labels
    count as much as common ones."""
    lora: LoraConfig = LoraConfig()
    start_from: str | None = None
    """The folder or zip of an adapter to go on from, made with the same ``lora``; None begins
    anew."""
    epochs: Annotated[float, Field(gt=0, le=1000)] = 3
    """Times that each row is seen."""
    max_samples: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Rows to learn from and to validate with, drawn with ``seed``; None means all."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Stop after this many updates, whatever ``epochs`` says; None means no limit."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-4
    """Highest step size of AdamW, reached after the warm-up."""
    schedule: Schedule = "linear"
    """How the learning rate falls after the warm-up."""
    optim: Optim = "adamw"
    """adamw; or adamw_8bit, whose state needs a quarter of the memory (Dettmers et al. 2021)."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of the updates in which the learning rate rises from zero."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 8
    """Rows per forward and backward pass."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=4096)] = 1
    """Batches whose gradients are added up before one update."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients longer than this are scaled down to it; 0 turns clipping off."""
    max_length: Annotated[int, Field(ge=8, le=1_048_576)] = 512
    """Longest row in tokens; the rest of a longer row is cut off."""
    validation_share: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Share of the rows that is held out to measure what was learned."""
    sample_answers: Annotated[int, Field(ge=0, le=20)] = 0
    """Chat: held-out questions that are answered before and after, to look at."""
    load_best_model_at_end: bool = False
    """Keep the adapter as it was when it was best on the validation rows, not as it is at the
    end."""
    early_stopping_patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    """End the run once so many measurements on the validation rows brought nothing better; there
    are about ten a run. None means never."""
    metric_for_best_model: Metric = "loss"
    """What the two above go by: the validation loss, or a classifier's accuracy or macro F1."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    precision: Precision = "auto"
    """Number format of the frozen weights and of the arithmetic; the adapter is always float32."""
    quantization: Quantization = "none"
    """Frozen linear layers in 4 bits (nf4, QLoRA) or 8 bits (int8): less memory, slower."""
    neftune_noise_alpha: Annotated[float, Field(gt=0, le=100)] | None = None
    """NEFTune: noise on the embeddings while training (Jain et al. 2023); 5 is usual."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target probability that is spread over all tokens."""
    gradient_checkpointing: Checkpointing = "auto"
    """Compute activations again in the backward pass: less memory, about a third slower. ``auto``
    does so where they would not fit into the free memory; true and false are on and off."""
    fast: bool = True
    """Take the faster way to the same loss where model and machine allow it."""

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _switch_as_word(cls, value: Any) -> Any:
        return ("on" if value else "off") if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.quantization != "none":
            if self.lora.method != "lora":
                raise ValueError("Quantised weights cannot be trained; choose method lora")
            if name := self.lora.needs_whole_base:
                raise ValueError(f"{name} needs weights that are not quantised")
        if self.optim != "adamw" and registry.METHODS[self.lora.method].optimizer:
            raise ValueError(f"Method {self.lora.method} has an optimiser of its own: choose adamw")
        needs_rows = self.load_best_model_at_end or self.early_stopping_patience
        if needs_rows and not self.validation_share:
            raise ValueError(
                "Keeping the best and stopping early need rows that are held out: give a "
                "validation share above 0"
            )
        if self.start_from is not None and self.lora.init_lora_weights != "kaiming":
            raise ValueError("An adapter to start from is the start: leave init_lora_weights out")
        if self.quantization == "none" and self.lora.start.of_losses:
            kinds = " or ".join(registry.QUANTIZATIONS)
            title = self.lora.start.title
            raise ValueError(f"The {title} start needs a quantised base: choose {kinds}")
        return self

    @classmethod
    def read(cls, path: Path, replaced: Mapping[str, Any] | None = None) -> Self:
        """Read a settings file, with some values in place of the file's; raises SettingsError."""
        try:
            return cls.parse_json(path.read_bytes(), replaced)
        except OSError:
            raise SettingsError("", f"The settings file {path} cannot be read.") from None


Value = TypeVar("Value")


def _by_pattern(values: dict[str, Value], path: str, default: Value) -> Value:
    """The value of the first pattern that matches the end of ``path``, as PEFT looks it up."""
    return next((v for p, v in values.items() if patterns.matches_end(p, path)), default)
