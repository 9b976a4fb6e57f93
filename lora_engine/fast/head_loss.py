"""Cross-entropy through a frozen output head, without ever holding the full logits.

Reason: at 49,152 words the logits of one row of 512 tokens and their gradient are 200 MB in
float32, and positions where nothing is learned need neither. Logits are made for a chunk of
learned positions at a time, and turned into the gradient of the hidden states right there, in
the forward pass (as in Liger Kernel, Hsu et al. 2024, https://arxiv.org/abs/2410.10989).
"""

from typing import Any

import torch
from torch import Tensor

from lora_engine.fast.onednn import product

CHUNK = 128
"""Positions a chunk: 25 MB of float32 logits at 49,152 words."""


def head_loss(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """Summed cross-entropy, in nats, of ``hidden @ weight.T + bias`` against ``labels``.

    hidden: positions × width, labels: positions; weight: words × width and bias: words are
    frozen. The softmax is taken in float32.
    """
    loss: Tensor = _HeadLoss.apply(hidden, weight, bias, labels)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor
    ) -> Tensor:
        wanted = hidden.requires_grad
        gradient = torch.empty_like(hidden) if wanted else None
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            chunk = slice(start, start + CHUNK)
            logits = product(hidden[chunk], weight).float()
            if bias is not None:
                logits += bias
            target = labels[chunk, None]
            # torch's log_softmax takes three times as long over so many words
            logits.sub_(logits.amax(-1, keepdim=True))
            total -= logits.gather(1, target).sum()
            probability = logits.exp_()
            mass = probability.sum(-1, keepdim=True)
            total += mass.log().sum()
            if gradient is not None:
                probability.div_(mass)
                probability.scatter_add_(1, target, -torch.ones_like(mass))
                gradient[chunk] = product(probability.to(weight.dtype), weight.T)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None, None
