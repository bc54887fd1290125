"""Surprise: what a score tells beyond what is known without it."""

import numpy as np
import pytest

from qnas.scores.surprise import BOUND, FEWEST, Surprise, learned
from qnas.scores.surrogate import Floats

RNG = np.random.default_rng(0)
KNOWN = RNG.normal(size=(2_000, 4))
NOISE = RNG.normal(size=len(KNOWN))
SCORES = KNOWN @ [1.0, -0.5, 0.0, 2.0] + 3 + 0.25 * NOISE


def unbounded(surprise: Surprise, known: Floats, scores: Floats) -> Floats:
    """Surprises as they are before they are bounded."""
    found: Floats = BOUND * np.arctanh(surprise(known, scores) / BOUND)
    return found


def test_surprises_are_what_is_left_in_standard_deviations() -> None:
    surprise = learned(KNOWN, SCORES)
    assert surprise is not None
    found = unbounded(surprise, KNOWN, SCORES)
    assert np.corrcoef(found, NOISE)[0, 1] > 0.9  # stiff: a little of the trend stays
    assert found.mean() == pytest.approx(0, abs=1e-9)
    assert found.std() == pytest.approx(1)


def test_no_surprise_is_beyond_its_bound() -> None:
    surprise = learned(KNOWN, SCORES)
    assert surprise is not None
    found = surprise(KNOWN[[0] * 5], np.median(SCORES) + np.array([-1e6, -3, 0, 3, 1e6]))
    assert found[[0, -1]] == pytest.approx([-BOUND, BOUND])
    assert (np.diff(found) > 0).all()


def test_a_score_that_is_not_known_is_no_surprise() -> None:
    some = np.where(np.arange(len(SCORES)) % 2, SCORES, np.nan)
    surprise = learned(KNOWN, some)
    assert surprise is not None
    assert not surprise(KNOWN, some)[::2].any()
    assert surprise(KNOWN, some)[1::2].all()


def test_the_median_of_those_it_is_used_to_is_none() -> None:
    surprise = learned(KNOWN, SCORES)
    assert surprise is not None
    used = surprise.used_to(KNOWN[:9], SCORES[:9] + 7)
    assert np.median(used(KNOWN[:9], SCORES[:9] + 7)) == pytest.approx(0, abs=1e-9)
    far = np.append(SCORES[:9], -1e6) + 7  # one at which the hypernetwork fails
    assert surprise.used_to(KNOWN[:10], far).shift == pytest.approx(used.shift, abs=0.5)
    some = np.append(SCORES[:9] + 7, np.nan)
    assert surprise.used_to(KNOWN[:10], some).shift == pytest.approx(used.shift)
    assert surprise.used_to(KNOWN[:1], some[9:]) == surprise
    assert np.median(used.used_to(KNOWN[:9], SCORES[:9])(KNOWN[:9], SCORES[:9])) == pytest.approx(0, abs=1e-9)


def test_a_few_scores_teach_nothing() -> None:
    few = np.where(np.arange(len(SCORES)) < FEWEST - 1, SCORES, np.nan)
    assert learned(KNOWN, few) is None
    assert learned(KNOWN[:FEWEST], np.full(FEWEST, -2.197)) is None  # all at chance
