"""How A and B start. A start that is not B·A = 0 leaves the base weight as it is."""

from collections.abc import Callable

import torch
from torch import Tensor

from lora_engine.errors import SettingsError
from lora_engine.lora.layers import LoRALayer

Start = Callable[[LoRALayer], None]


def kaiming(layer: LoRALayer) -> None:
    """The paper's start (Hu et al. 2021, section 4.1, in loralib's form)."""
    layer.low_rank.start()


def gaussian(layer: LoRALayer) -> None:
    """A normal with deviation 1/r, B zero."""
    torch.nn.init.normal_(layer.low_rank.lora_A, std=1 / layer.low_rank.r)
    torch.nn.init.zeros_(layer.low_rank.lora_B)


@torch.no_grad()
def orthogonal(layer: LoRALayer) -> None:
    """A and B from the odd and even rows of one orthogonal matrix, so that B·A = 0 with neither
    of them zero (https://datta0.github.io/posts/rethink-lora-init). Raises SettingsError for an
    odd rank.
    """
    pair = layer.low_rank
    if pair.r % 2:
        raise SettingsError("lora.r", f"The orthogonal start needs an even r, not {pair.r}.")
    rows, _ = torch.linalg.qr(torch.randn(pair.r, pair.r))
    half = pair.r // 2
    a = torch.randn(pair.lora_A[0].numel(), half) @ rows[0::2] / 10
    b = torch.randn(half, pair.lora_B.shape[0]).T @ rows[1::2] / 10
    pair.lora_A.copy_(a.T.view_as(pair.lora_A))
    pair.lora_B.copy_(b.view_as(pair.lora_B))


def pissa(niter: int | None) -> Start:
    """The weight's r main directions (Meng et al. 2024, https://arxiv.org/abs/2404.02948).

    ``niter`` None takes the exact SVD, else the randomised one with so many iterations. The
    paper subtracts the start from the base weight; here the low-rank path subtracts it from its
    output, which is the same sum and leaves the base untouched.
    """

    @torch.no_grad()
    def start(layer: LoRALayer) -> None:
        pair = layer.low_rank
        weight = layer.stored().flatten(1)
        if niter is None:
            u, s, vt = torch.linalg.svd(weight, full_matrices=False)
        else:
            u, s, v = torch.svd_lowrank(weight, q=pair.r, niter=niter)
            vt = v.T
        root = (s[: pair.r] / pair.scaling).sqrt()
        pair.lora_A.copy_(_rows(root[:, None] * vt[: pair.r], pair.r).view_as(pair.lora_A))
        pair.lora_B.copy_(_rows((u[:, : pair.r] * root).T, pair.r).T.view_as(pair.lora_B))
        pair.start_A, pair.start_B = pair.lora_A.clone(), pair.lora_B.clone()

    return start


def _rows(matrix: Tensor, r: int) -> Tensor:
    """``matrix`` with zero rows below it where a small layer has fewer than r directions."""
    return torch.nn.functional.pad(matrix, (0, 0, 0, r - len(matrix)))


def start_of(name: str) -> Start:
    """The start that ``init_lora_weights`` names."""
    if name.startswith("pissa_niter_"):
        return pissa(int(name.rpartition("_")[2]))
    if name == "pissa":
        return pissa(None)
    # LoftQ begins like the paper and is fitted once the model stands (lora_engine.quantization)
    return {"gaussian": gaussian, "orthogonal": orthogonal}.get(name, kaiming)
