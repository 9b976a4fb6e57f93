"""Base and adapted answers to one prompt, for the tasks whose answers are written."""

from typing import Any

from lora_engine.generate import Row, Speaker
from lora_engine.tasks.base import Trial


def side_by_side(trial: Trial, *, as_text: bool = False) -> dict[str, Any]:
    """Both answers in one batch, and how far apart they are: ``{"base", "adapted",
    "divergence"}``; ``as_text`` takes the prompt as text to go on with.

    Raises:
        WorkbenchError: adapter or prompt do not fit the base model.
    """
    speaker = Speaker.load(trial.folder, trial.device, trial.quantization)
    messages = [{"role": "user", "content": trial.prompt}]
    ids = speaker.prompt_ids(messages, as_text=as_text)
    rows = [Row(ids), Row(ids, trial.adapter, trial.strength)]
    answers = speaker.answer(rows, trial.decoding)
    return {
        "base": answers.texts[0],
        "adapted": answers.texts[1],
        "divergence": speaker.divergence(rows[1], answers.token_ids[1]),
    }
