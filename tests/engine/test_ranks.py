"""The rank report: the singular values are those of the full ΔW, and a cut is the best there is."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lora_engine import adapter as adapter_files
from lora_engine.errors import AdapterError
from lora_engine.pairs import Pair, pairs_of
from lora_engine.ranks import rank_report
from tests import tiny
from tests.engine.adapters import CASES, delta_weights, made, make

WORKED = [
    [1, 0, 0, 2, 0],
    [0, 2, 0, 1, 0],
    [0, 0, 3, 0, 0],
    [2, 1, 0, 5, 0],
    [1, 2, 0, 3, 0],
]
"""The worked example of the seed documents: rank 4, its fifth row is the sum of two others."""
cases = pytest.mark.parametrize("case", CASES)


def pair(a: torch.Tensor, b: torch.Tensor) -> Pair:
    return Pair(a.double(), b.double())


def test_worked_example_of_the_seeds() -> None:
    """Its values 7.03, 3, 2.15 and 0.11 are right, and so is its matrix of rank 3."""
    worked = pair(torch.eye(5), torch.tensor(WORKED))
    found = worked.singular_values()
    expected = torch.tensor([7.03, 3, 2.15, 0.11, 0], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=0.006, rtol=0)
    cut = worked.cut(3)
    kept = torch.tensor([
        [0.93, -0.01, 0, 2.03, 0], [0.02, 2, 0, 0.99, 0], [0, 0, 3, 0, 0],
        [2.05, 1.01, 0, 4.98, 0], [0.95, 1.99, 0, 3.02, 0],
    ], dtype=torch.float64)  # fmt: skip
    torch.testing.assert_close(cut.b @ cut.a, kept, atol=0.006, rtol=0)


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    r=st.integers(1, 6),
    cut_to=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_qr_factors_give_the_svd_of_the_full_matrix(
    rows: int, columns: int, r: int, cut_to: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(r, columns, generator=generator, dtype=torch.float64)
    b = torch.randn(rows, r, generator=generator, dtype=torch.float64)
    full = b @ a
    expected = torch.linalg.svdvals(full)
    found = pair(a, b).singular_values()
    assert len(found) == min(rows, columns, r)
    torch.testing.assert_close(found, expected[: len(found)], atol=1e-10, rtol=1e-10)
    u, values, v = pair(a, b).svd()
    torch.testing.assert_close(u * values @ v.T, full, atol=1e-10, rtol=0)
    torch.testing.assert_close(u.T @ u, torch.eye(len(values)).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(v.T @ v, torch.eye(len(values)).double(), atol=1e-10, rtol=0)
    cut = pair(a, b).cut(cut_to)
    assert cut.a.shape == (cut_to, columns)
    assert cut.b.shape == (rows, cut_to)
    error = torch.linalg.matrix_norm(cut.b @ cut.a - full)  # Eckart and Young: no rank-k is nearer
    torch.testing.assert_close(error, expected[cut_to:].square().sum().sqrt(), atol=1e-9, rtol=1e-9)


@cases
def test_report_agrees_with_the_full_matrices(case: str, tmp_path: Path) -> None:
    path = made(case, tmp_path)
    report = rank_report(path)
    full = delta_weights(adapter_files.read(path))
    assert {module.name for module in report.modules} == full.keys()
    energies = torch.zeros(report.r).double()
    for module in report.modules:
        expected = torch.linalg.svdvals(full[module.name])[: module.r]
        found = torch.tensor(module.singular_values).double()
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
        shares = expected.square().cumsum(0) / expected.square().sum()
        assert shares[module.rank_90 - 1] >= 0.9 - 1e-6
        assert module.rank_90 == 1 or shares[module.rank_90 - 2] < 0.9
        assert shares[module.rank_99 - 1] >= 0.99 - 1e-6
        energies[: len(expected)] += expected.square()
    kept = energies.cumsum(0) / energies.sum()
    torch.testing.assert_close(torch.tensor(report.kept).double(), kept, atol=1e-6, rtol=0)
    assert sum(module.share for module in report.modules) == pytest.approx(1)
    assert report.r == (8 if case == "pissa" else 4)
    assert bool(report.notes) is (case in ("dora, biases, saved",))


def test_what_fits_in_a_small_rank_is_said_to(tmp_path: Path) -> None:
    """A pair of rank 16 in which two directions hold nearly everything."""
    folder = make(tmp_path / "a", tiny.llama(), r=16, target_modules=["q_proj"])
    read = adapter_files.read(folder)
    pairs, _ = pairs_of(read)
    scale = torch.full((16, 1), 1e-3)
    scale[:2] = 1.0
    for name, low_rank in pairs.items():
        read.tensors[f"{name}.lora_A.weight"] = (scale * low_rank.a).float().contiguous()
    from safetensors.torch import save_file

    save_file({f"base_model.model.{n}": t for n, t in read.tensors.items()},
              folder / "adapter_model.safetensors")  # fmt: skip
    report = rank_report(folder)
    assert (report.rank_90, report.rank_99) == (2, 2)
    assert report.sentence == (
        "r=16 was paid for; 90 % of what it learned fits in rank 2, 99 % in rank 2."
    )


def test_an_untrained_adapter_learned_nothing(tmp_path: Path) -> None:
    report = rank_report(make(tmp_path / "a", tiny.llama(), size=0))
    assert (report.rank_90, report.kept) == (0, ())
    assert "nothing was learned" in report.sentence


def test_an_adapter_of_values_that_are_no_numbers_is_told(tmp_path: Path) -> None:
    path = make(tmp_path / "adapter", tiny.llama(), "some/base")
    weights = path / "adapter_model.safetensors"
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name] * float("nan")}, weights)
    with pytest.raises(AdapterError, match="holds values that are no numbers, in ") as refused:
        rank_report(path)
    assert "\n" not in str(refused.value)
