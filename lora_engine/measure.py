"""The loss of finished adapters on rows that their run did not train on."""

import gc
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lora_engine.adapter import Adapter, attach
from lora_engine.config import TrainConfig
from lora_engine.errors import DataError
from lora_engine.extras import check_base
from lora_engine.loss import mean_loss
from lora_engine.model import choose_device, choose_dtype
from lora_engine.prepare import prepare
from lora_engine.progress import Progress, Report


def unseen_losses(
    adapters: Sequence[Adapter],
    config: TrainConfig,
    *,
    home: Path,
    report: Report,
    device: str = "auto",
) -> list[float]:
    """Each adapter's mean loss on the validation share of ``config``, or else on its test data, in
    nats per learned token, or per row of a classifier.

    The share is drawn with the run's own seed, so these are the rows that were held out then; the
    base is held in the bits that it was trained on, so the losses are of the same model.

    Raises:
        WorkbenchError: the model or the data is gone, the run had no such rows, or this machine
            cannot quantise the base.
    """
    check_base(config.quantization)
    place = choose_device(device)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = prepare(config, home, Path(folder), report)
        rows = work.validation or work.test
        if not rows:
            raise DataError("its run had no rows that it did not train on")
        losses = []
        for number, adapter in enumerate(adapters, start=1):
            report(Progress(phase="evaluating", message=f"Measuring, {number} of {len(adapters)}"))
            dtype = choose_dtype(config.precision, place)
            model = work.task.load(work.model.path, place, dtype, work.words, config.quantization)
            attach(model, adapter)
            model.eval()
            path = work.task.path(model, config, work.words, place, work.longest)
            losses.append(mean_loss(path, rows.in_order()))
            del model, path
            gc.collect()  # its hooks hold it in a circle; the next base needs the room
    return losses
