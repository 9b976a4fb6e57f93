"""The low-rank pairs in an adapter's files, apart from any model: their SVD, sums and cuts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_engine.adapter import Adapter
from lora_engine.errors import AdapterError

NAME = re.compile(r"(?P<path>.+)\.(lora_(?P<side>[AB])\.weight|lora_embedding_(?P<word>[AB]))")


@dataclass(frozen=True)
class Pair:
    """What an adapter learned at one module: ΔW = b·a, with the scaling in it, in float64.

    ΔW is out × in for a linear layer, embedding_dim × words for an embedding, and out × (in ·
    kernel) for a convolution.
    """

    a: Tensor
    """r × columns of ΔW."""
    b: Tensor
    """Rows of ΔW × r."""
    kernel: tuple[int, ...] = ()
    """A convolution's (in, kernel sizes …), which are flattened in ``a``; else empty."""
    is_embedding: bool = False

    @property
    def r(self) -> int:
        """The rank that was paid for."""
        return len(self.a)

    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (rows × n), the singular values (n, descending), V (columns × n) of ΔW; n ≤ r.

        ΔW itself is never formed. With the QR factors b = Q_b·R_b and aᵀ = Q_a·R_a,
        ΔW = b·a = Q_b·(R_b·R_aᵀ)·Q_aᵀ. The middle is at most r × r, and its SVD X·Σ·Yᵀ gives
        U = Q_b·X and V = Q_a·Y, because products of orthonormal columns are orthonormal.
        """
        q_b, r_b = torch.linalg.qr(self.b)
        q_a, r_a = torch.linalg.qr(self.a.T)
        x, values, y = torch.linalg.svd(r_b @ r_a.T, full_matrices=False)
        return q_b @ x, values, q_a @ y.T

    def singular_values(self) -> Tensor:
        """Those of ΔW, descending; at most r of them are not zero."""
        r_b = torch.linalg.qr(self.b, mode="r").R
        r_a = torch.linalg.qr(self.a.T, mode="r").R
        values: Tensor = torch.linalg.svdvals(r_b @ r_a.T)
        return values

    def cut(self, r: int) -> "Pair":
        """The pair of rank ``r`` that is nearest to this one in the Frobenius norm.

        That is the SVD's first r terms (Eckart and Young 1936, https://doi.org/10.1007/BF02288367),
        √Σ in each factor so that neither is much larger than the other; rows of zeros fill up
        where ΔW has fewer directions.
        """
        u, values, v = self.svd()
        root = values[:r].sqrt()
        return replace(self, a=(v[:, :r] * root).T, b=u[:, :r] * root).padded(r)

    def padded(self, r: int) -> "Pair":
        """The same ΔW at rank ``r``, by zeros."""
        missing = r - self.r
        return replace(self, a=F.pad(self.a, (0, 0, 0, missing)), b=F.pad(self.b, (0, missing)))

    def tensors(self, path: str) -> dict[str, Tensor]:
        """As an adapter file has them, float32, for a scaling of 1."""
        names = ("embedding_A", "embedding_B") if self.is_embedding else ("A.weight", "B.weight")
        ones = (1,) * (len(self.kernel) - 1)
        shaped = (
            self.a.reshape(self.r, *(self.kernel or (-1,))),
            self.b.reshape(-1, self.r, *ones),
        )
        return {
            f"{path}.lora_{name}": tensor.float().contiguous()
            for name, tensor in zip(names, shaped, strict=True)
        }


def pairs_of(adapter: Adapter) -> tuple[dict[str, Pair], dict[str, Tensor]]:
    """The pairs of an adapter by module path, and its other tensors by name.

    Raises:
        AdapterError: it trained the weights themselves, or lists every half or misshapen pair,
            or holds values that are no numbers.
    """
    if adapter.lora.method != "lora":
        raise AdapterError(
            f"This run trained the weights themselves (method {adapter.lora.method}), "
            "so it has no low-rank pairs."
        )
    if adapter.lora.start.of_directions:
        raise AdapterError(
            "This adapter's pairs count from the base weights' own directions (PiSSA); save it "
            "with PEFT's path_initial_model_for_weight_conversion, or go on training it here."
        )
    if odd := [n for n, t in adapter.tensors.items() if not bool(t.isfinite().all())]:
        raise AdapterError(f"This adapter holds values that are no numbers, in {odd[0]}.")
    sides: dict[str, dict[str, Tensor]] = {}
    others: dict[str, Tensor] = {}
    embeddings: set[str] = set()
    for name, tensor in adapter.tensors.items():
        found = NAME.fullmatch(name)
        if found is None:
            if not name.endswith(".base_layer.weight"):  # PEFT adds the base's own embedding
                others[name] = tensor
            continue
        sides.setdefault(found["path"], {})[found["side"] or found["word"]] = tensor
        if found["word"]:
            embeddings.add(found["path"])
    problems = [
        f"{path} has only its lora_{next(iter(found))}"
        for path, found in sides.items()
        if len(found) < 2
    ]
    problems += [
        f"{path} has rank {len(found['A'])} and {found['B'].shape[1]}, not {r}"
        for path, found in sides.items()
        if len(found) == 2
        for r in [adapter.lora.rank_of(path)]
        if {len(found["A"]), found["B"].shape[1]} != {r}
    ]
    if problems or not sides:
        listed = "; ".join(problems) or "it has no lora_A and lora_B"
        raise AdapterError(f"The adapter's tensors do not make pairs: {listed}.")
    pairs = {
        path: _pair(found["A"], found["B"], adapter.lora.scaling_of(path), path in embeddings)
        for path, found in sides.items()
    }
    return pairs, others


def joined(pairs: Sequence[tuple[float, Pair]]) -> Pair:
    """The pair whose ΔW is the weighted sum of all; its rank is the sum of theirs."""
    first = pairs[0][1]
    a = torch.cat([weight * pair.a for weight, pair in pairs])
    return replace(first, a=a, b=torch.cat([pair.b for _, pair in pairs], dim=1))


def _pair(a: Tensor, b: Tensor, scaling: float, is_embedding: bool) -> Pair:
    kernel = tuple(a.shape[1:]) if a.dim() > 2 else ()
    return Pair(a.double().flatten(1), scaling * b.double().flatten(1), kernel, is_embedding)
