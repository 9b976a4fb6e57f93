"""What is dropped comes at the asked rate, from the asked generator."""

import threading

import pytest
import torch
from torch import Generator, nn

from lora_engine.fast.dropout import disown, drawing_from, keep_mask, masked, masked_, own


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.95])
def test_the_rate_is_as_asked(rate: float, dtype: torch.dtype) -> None:
    x = torch.ones(700, 301, dtype=dtype)
    kept = keep_mask((700, 301), rate, Generator().manual_seed(0), dtype)
    mask = masked(x, kept)
    assert mask.dtype == dtype
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert x.all()
    assert torch.equal(masked_(x, kept), mask)
    assert torch.equal(x, mask)
    deviation = (rate * (1 - rate) / mask.numel()) ** 0.5
    assert float(1 - mask.float().mean()) == pytest.approx(rate, abs=4 * deviation + 2**-16)
    # neighbours come from one draw and must not depend on each other
    both = mask[:, :-1].float() * mask[:, 1:].float()
    assert float(both.mean()) == pytest.approx((1 - rate) ** 2, abs=6 * deviation + 2**-15)


def test_a_rate_too_small_to_tell_keeps_nearly_all() -> None:
    assert float(keep_mask((50_000,), 1e-9, Generator(), torch.float32).float().mean()) > 0.999


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
