"""A and B that are both not zero, and whose product is."""

import torch

from lora_engine.errors import SettingsError
from lora_engine.lora.layers import LoRALayer


@torch.no_grad()
def start(layer: LoRALayer) -> None:
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
