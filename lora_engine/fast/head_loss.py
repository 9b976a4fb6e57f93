"""Cross-entropy through a frozen output head, without ever holding the full logits.

Reason: at 49,152 words the logits of one row of 512 tokens and their gradient are 200 MB in
float32, and positions where nothing is learned need neither. Logits are made for a chunk of
learned positions at a time, and turned into the gradient of the hidden states right there, in
the forward pass (as in Liger Kernel, Hsu et al. 2024, https://arxiv.org/abs/2410.10989).
"""

import math
from typing import Any

import torch
from torch import Tensor

from lora_engine.fast.onednn import product

LOGITS = 12_000_000
"""Logits at a time, in the model's number format: 240 positions at 49,152 words, enough rows to
keep the matrix units busy."""
LOG2_E = 1 / math.log(2)

ROWS = 16
"""Positions whose softmax is taken at a time, in float32: they fit in the processor's cache. A GPU
takes all at once."""


def head_loss(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Summed cross-entropy, in nats, of ``hidden @ weight.T + bias`` against ``labels``.

    hidden: positions × width, labels: positions; weight: words × width and bias: words are
    frozen. ``smoothing`` is the share of the target that is spread over all words (Szegedy et al.
    2015, https://arxiv.org/abs/1512.00567, section 7). The softmax is taken in float32.
    """
    arguments = hidden, weight, bias, labels, smoothing
    loss: Tensor = _HeadLoss.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        smoothing: float,
    ) -> Tensor:
        wanted = hidden.requires_grad
        gradient = torch.empty_like(hidden) if wanted else None
        total = hidden.new_zeros((), dtype=torch.float32)
        at_once = max(ROWS, LOGITS // len(weight))
        for start in range(0, len(hidden), at_once):
            chunk = slice(start, start + at_once)
            logits = product(hidden[chunk], weight)
            if bias is not None:
                logits += bias
            size = ROWS if logits.device.type == "cpu" else len(logits)
            for rows, target in zip(logits.split(size), labels[chunk].split(size), strict=True):
                total += _loss(rows, target[:, None], wanted, smoothing)
            if gradient is not None:
                gradient[chunk] = product(logits, weight.T)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None, None  # a scalar: in the gradient's dtype


def _loss(logits: Tensor, target: Tensor, wanted: bool, smoothing: float) -> Tensor:
    """Summed cross-entropy of rows × words against rows × 1; where ``wanted``, the logits become
    its gradient."""
    # By hand, as torch's log_softmax takes three times as long over so many words; in powers of
    # two, which take a third of the time of powers of e.
    wide = logits.float()
    top = wide.amax(-1, keepdim=True)
    loss = (top - (1 - smoothing) * wide.gather(1, target)).sum()
    if smoothing:
        loss -= smoothing * wide.mean(-1).sum()
    power = torch.add(top * -LOG2_E, wide, alpha=LOG2_E).exp2_()
    mass = power.sum(-1, keepdim=True)
    if wanted:
        probability = power.mul_(mass.reciprocal())
        probability.scatter_add_(1, target, torch.full_like(mass, smoothing - 1))
        if smoothing:
            probability -= smoothing / wide.shape[-1]
        logits.copy_(probability)
    return loss + mass.log().sum()
