"""Statements on made-up runs: held where the runs were made so, not held where they were not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap, spearmanr, t

from qnas.studies.findings import (
    BEST,
    CLAIMS,
    EARLY_RANGES,
    MATTERS,
    NORM,
    SEPARABLE,
    Finding,
    findings_of,
    interval,
    interval_of_mean,
    mean,
    permutation_p,
    rank_correlation,
    verdicts,
)
from qnas.studies.init_runs import Run


def of(findings: list[Finding], claim: str, bits: str = "quint8") -> list[Finding]:
    return [one for one in findings if (one.claim, one.bits) == (claim, bits)]


@pytest.fixture(scope="module")
def level() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture(scope="module")
def findings(made_up_runs: list[Run]) -> list[Finding]:
    return findings_of(made_up_runs)


def without_effects(runs: list[Run], level: np.random.Generator) -> list[Run]:
    """The same runs with the same accuracy everywhere, but for noise."""
    result = []
    for run in runs:
        lost = {
            name: score._replace(top1=70 + level.normal(), decrease=level.normal())
            for name, score in run.quantized.items()
        }
        result.append(replace(run, quantized=lost, fp32=None if run.fp32 is None else 75 + level.normal()))
    return result


def test_what_the_runs_were_made_to_show_is_held(findings: list[Finding]) -> None:
    assert set(CLAIMS) == {one.claim for one in findings}
    assert all(one.held for one in findings)
    assert all(one.low <= one.effect <= one.high for one in findings)
    assert len(of(findings, MATTERS)) == len(of(findings, BEST)) == 4
    (norm, _), (separable, _) = of(findings, NORM), of(findings, SEPARABLE)
    assert norm.effect == pytest.approx(4, abs=0.5)
    assert norm.note.startswith("in 5 of 5: uniform_small")  # what diverged on one side is no pair
    assert separable.effect == pytest.approx(5, abs=0.5)
    assert separable.where == "dws_conv_with_bn against regular_conv_with_bn"
    best = of(findings, BEST)[0]
    assert best.note == "float: normal_large; quantized: uniform_small"


def test_what_noise_shows_is_not_held(made_up_runs: list[Run], level: np.random.Generator) -> None:
    findings = findings_of(without_effects(made_up_runs, level))
    held = [one for one in findings if one.held and one.claim != BEST]
    assert len(held) <= 0.15 * len(findings)
    assert of(held, NORM) == []


def test_the_opposite_is_not_held(made_up_runs: list[Run]) -> None:
    other = {"dws": "regular", "regular": "dws"}
    swapped = [
        replace(run, block=f"{other[kind]}_{rest}")
        for run in made_up_runs
        for kind, _, rest in (run.block.partition("_"),)
    ]
    for one in of(findings_of(swapped), SEPARABLE):
        assert one.effect == pytest.approx(-5, abs=0.5)
        assert not one.held


def test_runs_that_diverged_or_guess_decide_nothing(made_up_runs: list[Run], findings: list[Finding]) -> None:
    kept = [run for run in made_up_runs if run.trained]
    assert len(kept) == len(made_up_runs) - 7
    assert findings_of(kept) == findings
    assert findings_of([run for run in made_up_runs if not run.trained]) == []


def test_early_layers_are_the_first_three(made_up_runs: list[Run], findings: list[Finding]) -> None:
    run = next(run for run in made_up_runs if run.trained)
    assert run.early("weight") == pytest.approx(np.mean([layer.weight for layer in run.layers[:3]]))
    assert {one.unit for one in of(findings, EARLY_RANGES.format(what="weight"))} == {"rho"}


def test_intervals_are_scipy_s() -> None:
    values = np.random.default_rng(3).normal(5, 2, 30)
    theirs = bootstrap((values,), np.mean, n_resamples=5000, method="percentile").confidence_interval
    assert interval(mean, [values], 0) == pytest.approx(tuple(theirs), abs=0.15)
    assert interval(mean, [values], 0) == interval(mean, [values], 0)


def test_rank_correlations_are_scipy_s() -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 5, 20)).round(0)
    for found, *sides in zip(rank_correlation(x, y), x, y, strict=True):
        assert found == pytest.approx(spearmanr(*sides).statistic)
    assert rank_correlation(np.ones(5), np.arange(5.0)) == 0


def test_permutations_tell_groups_apart_only_where_they_differ() -> None:
    assert permutation_p([[1.0, 1.1, 1.2], [5.0, 5.1, 5.2]], 0) == pytest.approx(0.1, abs=0.03)  # 2 of 20 splits
    assert permutation_p([[1.0, 5.0, 3.0], [5.0, 1.0, 3.0]], 0) > 0.9


def test_verdicts_count_where_a_statement_held(findings: list[Finding]) -> None:
    assert verdicts(findings, "w4a4")[0] == (MATTERS, 4, 4)
    assert [claim for claim, _, _ in verdicts(findings, "quint8")] == list(CLAIMS)


def test_of_equal_initializers_none_is_found_to_be_better(made_up_runs: list[Run]) -> None:
    """Noise alone: a statement is held in about one of forty cases, whatever was best in the very runs at hand."""
    rng, held, ranges = np.random.default_rng(3), [], []
    for _ in range(20):
        findings = findings_of(without_effects(made_up_runs, rng))
        held += [one.held for one in findings if one.claim == BEST]
        ranges += [one.held for one in findings if one.claim in (EARLY_RANGES.format(what="weight"),)]
    assert len(held) == len(ranges) == 20 * 4 * 3
    assert np.mean(held) < 0.06
    assert np.mean(ranges) < 0.06


def test_intervals_of_means_are_student_s() -> None:
    low, high = interval_of_mean([1.0, 2.0, 4.0])
    half = t.ppf(0.975, 2) * np.std([1.0, 2.0, 4.0], ddof=1) / 3**0.5
    assert (low, high) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert interval_of_mean([2.0, 2.0]) == (2.0, 2.0)
