"""GaLore: AdamW whose moments live in a low-rank projection of each gradient."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lora_engine.config import TrainConfig
from lora_engine.optimizers.adamw import parameter_groups


def make(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser over everything that is trained in ``model``."""
    return GaLoreAdamW(
        parameter_groups(model, config),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        rank=config.lora.r,
        update_gap=config.lora.galore_update_gap,
        scale=config.lora.galore_scale,
    )


class GaLoreAdamW(torch.optim.Optimizer):
    """AdamW for full fine-tuning with less memory (Zhao et al. 2024, arXiv:2403.03507, alg. 2).

    The gradient G (m × n) of a matrix is projected to r × n (or m × r, the smaller side) by the
    singular vectors of a recent gradient; Adam's two moments are kept in that space, and the step
    is projected back and scaled. Vectors and matrices with a side of at most r get plain AdamW.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        rank: int = 8,
        update_gap: int = 200,
        scale: float = 0.25,
    ) -> None:
        """``update_gap``: updates between two projections; ``scale``: the paper's α."""
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "rank": rank, "update_gap": update_gap,
            "scale": scale, "betas": (0.9, 0.999), "eps": 1e-8,
        }  # fmt: skip
        super().__init__(params, defaults)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch does it, but without rounding the state to the format of the weights."""
        super().load_state_dict(state_dict)
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, saved in state_dict["state"].items():
            own = self.state[parameters[number]]
            tensors = {n: v for n, v in saved.items() if isinstance(v, Tensor)}
            own |= {n: v.to(own[n].device, copy=True) for n, v in tensors.items()}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """One update."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
        gradient = parameter.grad.float()  # type: ignore[union-attr]
        projects = gradient.dim() == 2 and min(gradient.shape) > group["rank"]
        if projects:
            if state["step"] % group["update_gap"] == 0:
                state["basis"] = _basis(gradient, group["rank"])
            gradient = _project(gradient, state["basis"])
        if state["step"] == 0:
            state["mean"] = torch.zeros_like(gradient)
            state["square"] = torch.zeros_like(gradient)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        mean = state["mean"] / (1 - first ** state["step"])
        square = state["square"] / (1 - second ** state["step"])
        change = mean / (square.sqrt() + group["eps"])
        if projects:
            change = _project_back(change, state["basis"], parameter.shape) * group["scale"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(change.to(parameter.dtype), alpha=-group["lr"])


def _basis(gradient: Tensor, rank: int) -> Tensor:
    """The main singular vectors of the smaller side: m × r where m ≤ n, else r × n."""
    u, _, vt = torch.linalg.svd(gradient, full_matrices=False)
    basis: Tensor = u[:, :rank] if _is_left(gradient.shape) else vt[:rank]
    return basis.clone()


def _project(gradient: Tensor, basis: Tensor) -> Tensor:
    return basis.T @ gradient if _is_left(gradient.shape) else gradient @ basis.T


def _project_back(change: Tensor, basis: Tensor, shape: torch.Size) -> Tensor:
    return basis @ change if _is_left(shape) else change @ basis


def _is_left(shape: torch.Size) -> bool:
    """Whether the left side is the smaller one, which is projected."""
    return shape[0] <= shape[1]
