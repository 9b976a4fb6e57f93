"""PiSSA: A and B start as the main directions of the weight."""

import torch
from torch import Tensor, nn

from lora_engine.lora.layers import LoRALayer


@torch.no_grad()
def start(layer: LoRALayer, more: str = "") -> None:
    """The weight's r main directions (Meng et al. 2024, https://arxiv.org/abs/2404.02948).

    ``more`` empty takes the exact SVD; ``_niter_4`` the randomised one with so many iterations.
    The paper subtracts the start from the base weight; here the low-rank path subtracts it from
    its output, which is the same sum and leaves the base untouched. An embedding starts as ever,
    as in PEFT.
    """
    pair = layer.low_rank
    if isinstance(layer.base_layer, nn.Embedding):
        pair.start()
        pair.start_A, pair.start_B = pair.lora_A.clone(), pair.lora_B.clone()
        return
    weight = layer.stored().flatten(1)
    if more:
        u, s, v = torch.svd_lowrank(weight, q=pair.r, niter=int(more.removeprefix("_niter_")))
        vt = v.T
    else:
        u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    root = (s[: pair.r] / pair.scaling).sqrt()
    pair.lora_A.copy_(padded_rows(root[:, None] * vt[: pair.r], pair.r).view_as(pair.lora_A))
    pair.lora_B.copy_(padded_rows((u[:, : pair.r] * root).T, pair.r).T.view_as(pair.lora_B))
    pair.start_A, pair.start_B = pair.lora_A.clone(), pair.lora_B.clone()


def padded_rows(matrix: Tensor, r: int) -> Tensor:
    """``matrix`` with zero rows below it where a small layer has fewer than r directions."""
    return torch.nn.functional.pad(matrix, (0, 0, 0, r - len(matrix)))
