"""How well a model predicts rows that it is not trained on."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_engine.batches import IGNORED, Batch


def loss_sum(model: Any, batch: Batch) -> Tensor:
    """Summed cross-entropy, in nats, over the learned positions of ``batch``.

    The plain path: full logits of a padded batch, in float32. The token at position t is
    predicted from the positions before t.
    """
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(),
        batch.labels[:, 1:].flatten(),
        ignore_index=IGNORED,
        reduction="sum",
    )


@torch.no_grad()
def mean_loss(model: Any, batches: Iterable[Batch]) -> float:
    """Mean cross-entropy, in nats, per learned token of ``batches``."""
    was_training = model.training
    model.eval()
    total, tokens = 0.0, 0
    for batch in batches:
        total += float(loss_sum(model, batch))
        tokens += int((batch.labels[:, 1:] != IGNORED).sum())
    model.train(was_training)
    return total / tokens
