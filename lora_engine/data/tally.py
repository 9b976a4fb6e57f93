"""What came of the samples of a run: examples, tokens, and rows that did not fit."""

from lora_engine.data.nouns import Problem, ProblemKind, Sample

KEPT_PROBLEMS = 1000
"""Of a data set, or of a run: what a person might read."""


class Tally:
    """Counts of everything while samples become examples."""

    def __init__(self) -> None:
        self.samples = 0
        self.count = 0
        """Examples made."""
        self.problems: list[Problem] = []
        """The first KEPT_PROBLEMS."""
        self.problem_count = 0
        self.rows_cut = 0
        """Rows that are used without their end."""
        self.tokens = 0
        self.learned = 0
        """What is learned: predicted tokens, or rows with a label."""
        self.longest = 0
        """Tokens of the longest row before it was cut."""
        self.missed_answers = 0
        """Answers that are read but not learned."""

    def problem(self, sample: Sample, kind: ProblemKind, reason: str) -> None:
        """Note a row's trouble; ``reason`` goes on after "Line 7"."""
        self.problem_count += 1
        if len(self.problems) < KEPT_PROBLEMS:
            message = f"Line {sample.line} {reason}."
            self.problems.append(Problem(line=sample.line, kind=kind, message=message))

    def cut(self, sample: Sample, what: str, tokens: int, kept: int) -> None:
        """Note a row that is used without its end; ``what`` names the part, with a space."""
        self.rows_cut += 1
        self.problem(sample, "too_long", f"has {what}{tokens:,} tokens and is cut to {kept:,}")
