"""Low-rank paths: what is trained beside one frozen layer, for each kind of layer."""

import math
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class LowRank(nn.Module):
    """The pair A, B beside a linear layer: ``delta(x) = scaling · B(A(dropout(x)))``.

    Hu et al. 2021 (https://arxiv.org/abs/2106.09685), equation 3. Both are float32; products are
    taken in the dtype of ``x``. Subclasses do the same for other kinds of layers.
    """

    saved_as: ClassVar[dict[str, str]] = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight"}
    """Parameter name → name in an adapter file, after the module's path."""

    def __init__(self, base: nn.Module, r: int, scaling: float, dropout: float) -> None:
        super().__init__()
        self.r = r
        self.scaling = scaling
        self.dropout: nn.Module = nn.Dropout(dropout)
        a, b = self.shapes(base, r)
        self.lora_A = nn.Parameter(torch.empty(a))
        """r × in_features."""
        self.lora_B = nn.Parameter(torch.empty(b))
        """out_features × r."""
        self.register_buffer("start_A", None)
        self.register_buffer("start_B", None)
        self.start_A: Tensor | None
        """Set where the pair does not start at B·A = 0: what it started with is subtracted, so
        that the base weight can stay as it is."""
        self.start_B: Tensor | None

    @property
    def dropout_rate(self) -> float:
        """Share of the inputs that is dropped in training."""
        return self.dropout.p if isinstance(self.dropout, nn.Dropout) else 0.0

    @property
    def drops(self) -> bool:
        """Whether some of the inputs are dropped in training."""
        return self.dropout_rate > 0

    @staticmethod
    def shapes(base: nn.Module, r: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of A and B beside ``base``."""
        if isinstance(base, Conv1D):  # GPT-2's linear layer, weight stored as in × out
            return (r, base.nx), (base.nf, r)
        base = cast(nn.Linear, base)
        return (r, base.in_features), (base.out_features, r)

    def start(self) -> None:
        """The paper's start: A Kaiming uniform with a=√5, B zero, so that nothing changes."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B)

    def forward(self, x: Tensor) -> Tensor:
        """x: … × in_features → … × out_features, what the pair adds to the base's output."""
        added = self.product(self.dropout(x), self.lora_A, self.lora_B)
        if self.start_A is None or self.start_B is None:
            return added
        return added - self.product(x, self.start_A, self.start_B)

    def product(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """scaling · b(a(x)), in the dtype of ``x``."""
        return F.linear(F.linear(x, a.to(x.dtype)) * self.scaling, b.to(x.dtype))

    def delta_weight(self) -> Tensor:
        """ΔW as the base stores its weight (but out × in for Conv1D), float32."""
        delta = self.weight_of(self.lora_A, self.lora_B)
        if self.start_A is None or self.start_B is None:
            return delta
        return delta - self.weight_of(self.start_A, self.start_B)

    def weight_of(self, a: Tensor, b: Tensor) -> Tensor:
        """The weight that a pair amounts to: scaling · b·a, out_features × in_features."""
        return self.scaling * (b @ a)


class LowRankEmbedding(LowRank):
    """The pair beside an embedding: row i of ``scaling · (B·A)ᵀ`` is added for token i.

    A is zero and B normal at the start, as ``nn.Embedding`` starts (loralib).
    """

    saved_as: ClassVar[dict[str, str]] = {
        "lora_A": "lora_embedding_A",
        "lora_B": "lora_embedding_B",
    }

    @staticmethod
    def shapes(base: nn.Module, r: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A: r × words, B: embedding_dim × r."""
        base = cast(nn.Embedding, base)
        return (r, base.num_embeddings), (base.embedding_dim, r)

    def start(self) -> None:
        """A zero, B normal."""
        nn.init.zeros_(self.lora_A)
        nn.init.normal_(self.lora_B)

    def __init__(self, base: nn.Module, r: int, scaling: float, dropout: float) -> None:
        super().__init__(base, r, scaling, dropout)
        self.dropout = nn.Identity()  # ids cannot be dropped
        # some embeddings (Gemma 3's) scale their output
        self.output_scale = float(getattr(base, "embed_scale", 1.0))

    def product(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """x: token ids → … × embedding_dim, float32."""
        return F.embedding(x, a.T) @ b.T * (self.scaling * self.output_scale)

    def weight_of(self, a: Tensor, b: Tensor) -> Tensor:
        """num_embeddings × embedding_dim."""
        return self.scaling * (b @ a).T


class LowRankConv(LowRank):
    """The pair beside a convolution: A has its kernel, B is 1 × 1 (loralib's ``ConvLoRA``)."""

    def __init__(self, base: nn.Module, r: int, scaling: float, dropout: float) -> None:
        super().__init__(base, r, scaling, dropout)
        base = cast(nn.Conv1d | nn.Conv2d, base)
        self.convolve: Any = F.conv1d if isinstance(base, nn.Conv1d) else F.conv2d
        self.place = {
            "stride": base.stride,
            "padding": base.padding,
            "dilation": base.dilation,
        }

    @staticmethod
    def shapes(base: nn.Module, r: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A: r × in_channels × kernel, B: out_channels × r × 1 …"""
        base = cast(nn.Conv1d | nn.Conv2d, base)
        ones = (1,) * len(base.kernel_size)
        return (r, base.in_channels, *base.kernel_size), (base.out_channels, r, *ones)

    def product(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """x: batch × in_channels × … → batch × out_channels × …"""
        low = self.convolve(x, a.to(x.dtype), **self.place)
        return cast(Tensor, self.convolve(low * self.scaling, b.to(x.dtype)))

    def weight_of(self, a: Tensor, b: Tensor) -> Tensor:
        """out_channels × in_channels × kernel."""
        return self.scaling * (b.flatten(1) @ a.flatten(1)).view(-1, *a.shape[1:])


PATHS: dict[type[nn.Module], type[LowRank]] = {
    nn.Linear: LowRank,
    Conv1D: LowRank,
    nn.Embedding: LowRankEmbedding,
    nn.Conv1d: LowRankConv,
    nn.Conv2d: LowRankConv,
}


def path_class(module: nn.Module) -> type[LowRank] | None:
    """The low-rank path that fits ``module``, or None where LoRA has none for it."""
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1:
        return None  # B·A would mix the groups, so it could never be merged
    return next((path for kind, path in PATHS.items() if isinstance(module, kind)), None)
