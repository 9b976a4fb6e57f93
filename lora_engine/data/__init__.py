"""From an uploaded file to the rows, conversations and tokens that the model learns from."""

from lora_engine.data.library import Library
from lora_engine.data.nouns import Dataset, Problem, Sample, Turn
from lora_engine.data.roles import ROLE_TITLES

__all__ = ["ROLE_TITLES", "Dataset", "Library", "Problem", "Sample", "Turn"]
