"""How close an answer is to the expected one: exact match and ROUGE-L (Lin 2004, section 3)."""

import re
from functools import cache
from typing import Any

WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W\u3400-\u9fff\uf900-\ufaff]+")
"""A Chinese character, or a run of other letters and digits."""


class Words:
    """Splits a text into its words; the library's own way knows ASCII letters only."""

    def tokenize(self, text: str) -> list[str]:
        """Lower-case words, and each Chinese character for itself."""
        return WORD.findall(text.lower())


def rouge_l(expected: str, answer: str) -> float:
    """F-measure of the longest common subsequence of words, from 0 to 1."""
    return float(_scorer().score(expected, answer)["rougeL"].fmeasure)


def matches(expected: str, answer: str) -> bool:
    """Whether two texts are equal, apart from the amount of space."""
    return expected.split() == answer.split()


@cache
def _scorer() -> Any:
    # imported here because it brings nltk along, which takes a second
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

    return RougeScorer(["rougeL"], tokenizer=Words())
