"""What is dropped comes at the asked rate, from the asked generator."""

import threading

import pytest
import torch
from torch import Generator, nn

from lora_engine.fast.dropout import disown, drawing_from, keep_mask, masked, masked_, own


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.95, 0.992])
def test_the_rate_is_as_asked(rate: float, dtype: torch.dtype) -> None:
    x = torch.ones(700, 301, dtype=dtype)
    generator = Generator().manual_seed(0)
    kept = keep_mask((700, 301), rate, generator, dtype)
    mask = masked(x, kept)
    assert mask.dtype == dtype
    # torch would widen a narrower one at each use
    assert kept.dtype == (torch.int16 if dtype == torch.bfloat16 else torch.int8)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert x.all()
    assert torch.equal(masked_(x, kept), mask)
    assert torch.equal(x, mask)
    many = torch.stack([keep_mask((500, 301), rate, generator, dtype) for _ in range(200)]).double()
    # a call's own rate is one of two neighbours, 1/256 apart
    low = int(rate * 256) / 256
    of_calls = 1 - many.mean((1, 2))
    assert float(of_calls.min()) > low - 0.005
    assert float(of_calls.max()) < low + 1 / 256 + 0.005
    deviation = (rate * (1 - rate) / many.numel()) ** 0.5 + 1 / 512 / 200**0.5
    assert float(of_calls.mean()) == pytest.approx(rate, abs=4 * deviation)
    # neighbours come from one draw and must not depend on each other
    both = float((many[:, :, :-1] * many[:, :, 1:]).mean())
    assert both == pytest.approx((1 - rate) ** 2, abs=8 * deviation)


def test_a_small_rate_is_kept_by_dropping_nothing_in_most_calls() -> None:
    generator = Generator().manual_seed(0)
    rates = [
        1 - float(keep_mask((4096,), 0.0005, generator, torch.float32).double().mean())
        for _ in range(2000)
    ]
    assert sum(rate == 0 for rate in rates) / 2000 == pytest.approx(1 - 0.128, abs=0.03)
    assert sum(rates) / 2000 == pytest.approx(0.0005, rel=0.2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.995, 0.999])
def test_nearly_everything_is_dropped_at_the_asked_rate(rate: float, dtype: torch.dtype) -> None:
    kept = keep_mask((1_000_000,), rate, Generator().manual_seed(0), dtype)
    assert float(kept.double().mean()) == pytest.approx(1 - rate, rel=0.15)


def test_the_same_seed_drops_the_same() -> None:
    first, again, other = (
        keep_mask((64, 33), 0.3, Generator().manual_seed(seed), torch.float32) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_modules_draw_from_the_generator_of_their_thread() -> None:
    model = nn.Sequential(nn.Dropout(0.5))
    x = torch.ones(4, 1000)
    own(model)
    found: dict[int, torch.Tensor] = {}
    together = threading.Barrier(2)

    def draw(seed: int) -> None:
        with drawing_from(Generator().manual_seed(seed)):
            together.wait(10)
            found[seed] = model(x)

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, dropped in found.items():
        expected = 2 * masked(
            torch.ones(4, 1000),
            keep_mask((4, 1000), 0.5, Generator().manual_seed(seed), torch.float32),
        )
        assert torch.equal(dropped, expected)


def test_without_a_generator_and_in_evaluation_modules_are_themselves() -> None:
    model = nn.Sequential(nn.Dropout(0.5))
    x = torch.ones(4, 1000)
    torch.manual_seed(5)
    expected = model(x)
    own(model)
    torch.manual_seed(5)
    assert torch.equal(model(x), expected)
    model.eval()
    with drawing_from(Generator()):
        assert torch.equal(model(x), x)
    disown(model)
    assert "forward" not in vars(model[0])
