"""Every task by its name."""

from lora_engine.tasks.base import Task
from lora_engine.tasks.classification import Classification
from lora_engine.tasks.language import Language
from lora_engine.tasks.rewriting import Rewriting

TASKS: dict[str, type[Task]] = {
    "chat": Language,
    "text": Language,
    "classification": Classification,
    "seq2seq": Rewriting,
}
