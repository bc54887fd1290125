"""The learning rate held against torch's own cosine schedule."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.training.schedule import FLOOR, WARM_UP, learning_rate


def test_after_the_warm_up_it_is_the_cosine_schedule_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90, eta_min=0.05)
    for step in range(91):
        progress = 0.1 + 0.9 * step / 90
        assert learning_rate(progress, 0.5, warm_up=0.1, floor=0.1) == pytest.approx(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()


def test_the_warm_up_is_linear_and_starts_above_zero() -> None:
    rates = [learning_rate(WARM_UP * share, 1.0) for share in (0, 0.25, 0.5, 0.75)]
    steps = [later - earlier for earlier, later in pairwise(rates)]
    assert 0 < rates[0] < 0.1
    assert steps == pytest.approx([steps[0]] * 3)
    assert learning_rate(WARM_UP, 1.0) == pytest.approx(1.0)
    assert learning_rate(WARM_UP - 1e-9, 1.0) == pytest.approx(1.0)


def test_it_ends_at_the_floor() -> None:
    assert learning_rate(1.0, 0.3) == pytest.approx(0.3 * FLOOR)
    assert learning_rate(1.5, 0.3) == pytest.approx(0.3 * FLOOR)


@given(st.floats(0, 1), st.floats(1e-6, 1))
def test_it_lies_between_nothing_and_the_peak(progress: float, peak: float) -> None:
    assert 0 < learning_rate(progress, peak) <= peak * (1 + 1e-9)


@given(st.floats(WARM_UP, 1), st.floats(WARM_UP, 1))
def test_after_the_warm_up_it_only_falls(first: float, second: float) -> None:
    assert learning_rate(max(first, second), 1.0) <= learning_rate(min(first, second), 1.0)


def test_without_a_warm_up_it_starts_at_the_peak() -> None:
    assert learning_rate(0.0, 0.7, warm_up=0.0) == pytest.approx(0.7)
