"""What the layers below the lowest adapted one make of a row, computed once and kept.

Reason: where only upper layers are adapted, the lower ones give the same for the same row in
every epoch and every evaluation, and their forward pass is most of what is left to compute
(benchmarks/NOTES.md). Kept in memory up to a limit, then in a file without a name, which is gone
with the process. In bfloat16 a row's numbers depend in their last bit on the rows beside it; those
of the pack that it came in first are kept, and after a resume that may be another one.
"""

import hashlib
import shutil
import tempfile
import threading
import weakref
from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lora_engine.batches import Example

IN_MEMORY = 256_000_000
"""Bytes."""
OF_FREE_DISK = 0.25
"""Share of the free disk that the file may take."""


class LowerLayers:
    """The rows' hidden states before layer ``first``; threads may use it together."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._lock = threading.Lock()
        self._kept: dict[bytes, Tensor] = {}
        self._room = IN_MEMORY
        self._places: dict[bytes, tuple[int, torch.Size, torch.dtype]] = {}
        self._file: Any = None
        self._end = 0
        self._disk_room = 0

    def open(self, examples: Sequence[Example]) -> "Pack":
        """What is known of the rows of a pack."""
        keys = [_key(example) for example in examples]
        found = [self._find(key) for key in keys]
        rows = [row for row in found if row is not None]
        return Pack(self, keys, torch.cat(rows) if len(rows) == len(keys) else None)

    def keep(self, key: bytes, row: Tensor) -> None:
        """Remember a row's n × width, where there is room."""
        with self._lock:
            if key in self._kept or key in self._places:
                return
            if row.nbytes <= self._room:
                self._room -= row.nbytes
                self._kept[key] = row.clone()
                return
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as self
                weakref.finalize(self, self._file.close)
                free = shutil.disk_usage(tempfile.gettempdir()).free
                self._disk_room = int(free * OF_FREE_DISK)
            if row.nbytes <= self._disk_room:
                self._disk_room -= row.nbytes
                try:
                    self._file.seek(self._end)
                    self._file.write(row.contiguous().view(torch.uint8).numpy().data)
                    self._file.flush()
                except OSError:  # somebody else has filled the disk; the row is computed again
                    self._disk_room = 0
                    return
                self._places[key] = self._end, row.shape, row.dtype
                self._end += row.nbytes

    def _find(self, key: bytes) -> Tensor | None:
        with self._lock:
            if key in self._kept:
                return self._kept[key]
            if key not in self._places:
                return None
            start, shape, dtype = self._places[key]
            read = bytearray(shape.numel() * dtype.itemsize)
            self._file.seek(start)
            self._file.readinto(read)
            return torch.frombuffer(read, dtype=dtype).view(shape)


class Pack:
    """The rows of one pack on their way through the layers."""

    def __init__(self, layers: LowerLayers, keys: Sequence[bytes], known: Tensor | None) -> None:
        self._layers = layers
        self._keys = keys
        self._known = known

    def enter(self, number: int, x: Tensor, borders: Sequence[int]) -> Tensor | None:
        """What layer ``number`` takes instead of ``x`` (n × width); None where it need not be
        computed."""
        if number < self._layers.first:
            return x if self._known is None else None
        if number > self._layers.first:
            return x
        if self._known is not None:
            return self._known
        for key, start, end in zip(self._keys, borders, borders[1:], strict=False):
            self._layers.keep(key, x[start:end].detach())
        return x


def lower_layers(model: nn.Module, layers: Sequence[nn.Module]) -> LowerLayers | None:
    """The layers below the lowest one in which something is trained.

    None where there are none, or something is trained that they depend on, or nothing at all.
    """
    trained = {id(tensor) for tensor in model.parameters() if tensor.requires_grad}
    inside = [{id(tensor) for tensor in layer.parameters()} for layer in layers]
    learns = [number for number, own in enumerate(inside) if own & trained]
    if not learns or learns[0] == 0 or trained - set().union(*inside):
        return None
    return LowerLayers(learns[0])


def _key(example: Example) -> bytes:
    return hashlib.blake2b(array("q", example["input_ids"]).tobytes(), digest_size=16).digest()
