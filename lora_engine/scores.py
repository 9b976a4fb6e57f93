"""Accuracy and F1 from a confusion matrix (Sokolova and Lapalme 2009, tables 2 and 3)."""

from collections.abc import Sequence

Matrix = list[list[int]]
"""Row = true class, column = predicted class."""


def confusion(true: Sequence[int], predicted: Sequence[int], classes: int) -> Matrix:
    """How often each class was taken for each class."""
    matrix = [[0] * classes for _ in range(classes)]
    for row, column in zip(true, predicted, strict=True):
        matrix[row][column] += 1
    return matrix


def accuracy(matrix: Matrix) -> float:
    """Share of the rows whose class was predicted."""
    total = sum(map(sum, matrix))
    return sum(matrix[i][i] for i in range(len(matrix))) / total if total else 0.0


def precision(matrix: Matrix, number: int) -> float:
    """Share of what was taken for a class that is of it; 0 where nothing was."""
    taken = sum(row[number] for row in matrix)
    return matrix[number][number] / taken if taken else 0.0


def recall(matrix: Matrix, number: int) -> float:
    """Share of a class that was taken for it; 0 where it has no rows."""
    of_it = sum(matrix[number])
    return matrix[number][number] / of_it if of_it else 0.0


def f1(matrix: Matrix, number: int) -> float:
    """Harmonic mean of precision and recall of one class; 0 where both are 0."""
    hits = matrix[number][number]
    wrong = sum(matrix[number]) + sum(row[number] for row in matrix) - 2 * hits
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


def macro_f1(matrix: Matrix) -> float:
    """Mean F1 of the classes that occur or were predicted, each counting the same."""
    seen = [i for i, row in enumerate(matrix) if any(row) or any(other[i] for other in matrix)]
    return sum(f1(matrix, i) for i in seen) / len(seen) if seen else 0.0
