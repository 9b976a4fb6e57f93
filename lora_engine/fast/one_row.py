"""Whole rows laid end to end as one, and the loss at its learned positions.

What the packed ways of a CPU and of a GPU have in common; ``fast/packed.py`` says why.
"""

from typing import Any

import torch
from torch import Tensor

from lora_engine.batches import Example
from lora_engine.data.examples import IGNORED
from lora_engine.fast.head_loss import head_loss
from lora_engine.fast.shares import row_length


def one_row_loss(model: Any, examples: list[Example], smoothing: float, **options: Any) -> Tensor:
    """Cross-entropy, in nats, summed over what is learned from ``examples``.

    The attention of ``model`` must keep to the row borders that it is told in ``cu_seq_lens_q``
    (on the model's device) and ``row_ends`` (the same as numbers); ``options`` are handed on to
    it as well. Positions restart at every row.
    """
    lengths = list(map(row_length, examples))
    ids = torch.cat([torch.as_tensor(example["input_ids"]) for example in examples])
    positions = torch.cat([torch.arange(length) for length in lengths])
    # The last position of a row predicts nothing: the next row's first token is not its own.
    labels = torch.cat([torch.as_tensor([*example["labels"][1:], IGNORED]) for example in examples])
    learned = (labels != IGNORED).nonzero()[:, 0]  # found here, as a GPU would be waited for
    device = model.device
    borders = torch.tensor([0, *lengths]).cumsum(0).int()
    # All that the card needs goes there before it is set to work, or the copies would wait for it.
    on_device, places = borders.to(device), learned.to(device)
    targets = labels[learned].to(device)
    hidden = model.base_model(
        input_ids=ids[None].to(device),
        position_ids=positions[None].to(device),
        use_cache=False,
        cu_seq_lens_q=on_device,
        cu_seq_lens_k=on_device,
        max_length_q=max(lengths),
        max_length_k=max(lengths),
        row_ends=borders.tolist(),
        **options,
    ).last_hidden_state[0]
    head = model.get_output_embeddings()
    states = hidden.index_select(0, places)
    return head_loss(states, head.weight, getattr(head, "bias", None), targets, smoothing)
