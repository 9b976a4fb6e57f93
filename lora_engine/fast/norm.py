"""The normalisation of a decoder layer, forward and backward by hand (see ``layer``)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """Root mean square normalisation with a frozen weight (Zhang & Sennrich 2019)."""

    weight: Tensor
    eps: float

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: n × width → the same, normalised, and 1 / rms of each row, float32."""
        wide = _float32(x)
        inverse = (torch.linalg.vecdot(wide, wide)[:, None] / x.shape[-1] + self.eps).rsqrt_()
        return wide.mul_(inverse).to(x.dtype).mul_(self.weight), inverse

    def again(self, x: Tensor, inverse: Tensor) -> Tensor:
        """The normalised rows from what ``forward`` gave."""
        return _float32(x).mul_(inverse).to(x.dtype).mul_(self.weight)

    def backward(self, grad: Tensor, x: Tensor, inverse: Tensor) -> Tensor:
        """The gradient of x, given that of the output."""
        grad = (grad * self.weight).float()
        wide = x.float()
        # along x itself nothing changes: its length is divided out
        along = torch.linalg.vecdot(grad, wide)[:, None] * inverse.square() / x.shape[-1]
        return grad.addcmul_(wide, along, value=-1).mul_(inverse).to(x.dtype)


def _float32(x: Tensor) -> Tensor:
    """A copy that may be written to."""
    return x.to(torch.float32, copy=True)
