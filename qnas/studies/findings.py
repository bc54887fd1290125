"""What Yun and Wong (section 3.2) found, as statements with a statistic each: held, or not held, by the runs at hand.

Runs that diverged or guess are left out and counted. Intervals are 95 % bootstrap intervals (percentiles of seeded
resamples), what is resampled is said of each statement; or of a mean over a few seeds, Student's. Runs of one seed are
pairs: they saw the same images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control, permutation_test, rankdata, ttest_1samp

from qnas.scores.ranks import RESAMPLES, Floats
from qnas.studies.init_runs import Run
from qnas.studies.init_settings import BLOCKS, WIDTHS

LEVEL = 0.05
"""Of all tests."""


@dataclass(frozen=True)
class Finding:
    """A statement about one network, or one pair of them, at some bit widths.

    Args:
        claim: the statement.
        where: block, or blocks.
        bits: of ``WIDTHS``.
        effect: the size of what is stated, in ``unit``.
        low: start of its interval.
        high: its end.
        unit: of the effect.
        n: what was resampled, and how many.
        held: whether the runs support the statement.
        note: what else there is to say.
    """

    claim: str
    where: str
    bits: str
    effect: float
    low: float
    high: float
    unit: str
    n: str
    held: bool
    note: str = ""


Statement = Callable[[list[Run], str, int], list[Finding]]


def findings_of(runs: Sequence[Run], seed: int = 0) -> list[Finding]:
    """All statements that the runs can decide, at every bit widths; ``seed`` is of the resampling."""
    good = [run for run in runs if run.trained]
    return [found for statement in STATEMENTS for bits in WIDTHS for found in statement(good, bits, seed)]


def interval(statistic: Callable[..., Floats], sides: Sequence[ArrayLike], seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of a statistic, along the last axis, of arrays whose entries belong together."""
    rng, arrays = np.random.default_rng(seed), [np.asarray(side, float) for side in sides]
    drawn = rng.integers(0, len(arrays[0]), (RESAMPLES, len(arrays[0])))
    low, high = np.percentile(statistic(*(side[drawn] for side in arrays)), [2.5, 97.5])
    return float(low), float(high)


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of a mean; the mean itself where all are the same."""
    if np.ptp(values) == 0:
        return values[0], values[0]
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    return float(low), float(high)


def mean(values: Floats) -> Floats:
    """Their mean along the last axis."""
    return np.asarray(np.mean(values, -1))


def rank_correlation(x: Floats, y: Floats) -> Floats:
    """Spearman's rho along the last axis; 0 where one side is constant."""
    ranks = [rankdata(side, axis=-1) for side in (x, y)]
    x, y = (rank - rank.mean(-1, keepdims=True) for rank in ranks)
    size = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.asarray((x * y).sum(-1) / np.maximum(size, 1e-9))


def initializer_matters(runs: list[Run], bits: str, seed: int) -> list[Finding]:
    """Within one architecture accuracies differ more between initializers than between seeds.

    The test permutes runs among initializers; its statistic is the variance of the initializers' means. The effect is
    the difference of the best and the worst initializer over the seeds that both have, with Student's interval; it is
    of those that were found to be best and worst in these runs, so rather large.
    """
    found = []
    for block, cells in _by_block(runs).items():
        several = {name: own for name, own in cells.items() if len(own) > 1}
        if len(several) < 2:
            continue
        values = [[run.quantized[bits].top1 for run in own.values()] for own in several.values()]
        p = permutation_p(values, seed)
        order = sorted(several, key=lambda name: fmean(run.quantized[bits].top1 for run in several[name].values()))
        worst, best = order[0], order[-1]
        apart = _paired(several[best], several[worst], lambda run: run.quantized[bits].top1)
        if len(apart) > 1:
            low, high = interval_of_mean(apart)
            note = f"best {best}, worst {worst}, p = {p:.3g} over {len(several)} initializers"
            rest = (fmean(apart), low, high, "points", f"{len(apart)} seeds", p < LEVEL, note)
            found.append(Finding(MATTERS, block, bits, *rest))
    return found


def permutation_p(groups: list[list[float]], seed: int) -> float:
    """How often runs that change places at random differ as much between groups: the p of a permutation test."""
    sizes, flat = np.array([len(group) for group in groups]), np.concatenate(groups)
    starts = np.cumsum(sizes) - sizes

    def between(values: Floats) -> Floats:
        return np.asarray(np.var(np.add.reduceat(values, starts, axis=-1) / sizes, axis=-1))

    moved = np.random.default_rng(seed).permuted(np.tile(flat, (RESAMPLES, 1)), axis=-1)
    return float((1 + (between(moved) >= between(flat) * (1 - 1e-9)).sum()) / (1 + RESAMPLES))


def batch_norm_costs(runs: list[Run], bits: str, seed: int) -> list[Finding]:
    """With batch norm some initializers lose more of their accuracy than without.

    Each initializer is tested over seeds (paired t, one side; false discovery rate controlled over initializers); the
    effect is the mean difference of the per cent decrease, resampled over initializers.
    """
    found, blocks = [], _by_block(runs)
    for design in dict.fromkeys(name for name, _ in BLOCKS.values()):
        with_norm, without = blocks.get(f"{design}_with_bn", {}), blocks.get(f"{design}_no_bn", {})
        pairs = _differences(with_norm, without, bits)
        tested = {name: values for name, values in pairs.items() if len(values) > 1 and np.ptp(values) > 0}
        if not tested:
            continue
        p = [ttest_1samp(values, 0, alternative="greater").pvalue for values in tested.values()]
        worse = [name for name, value in zip(tested, false_discovery_control(p), strict=True) if value < LEVEL]
        means = [fmean(values) for values in pairs.values()]
        low, high = interval(mean, [means], seed)
        note = f"in {len(worse)} of {len(tested)}: {', '.join(worse) or 'none'}"
        rest = (fmean(means), low, high, DECREASE, f"{len(means)} initializers", bool(worse), note)
        found.append(Finding(NORM, design, bits, *rest))
    return found


def separable_costs(runs: list[Run], bits: str, seed: int) -> list[Finding]:
    """Networks with depthwise-separable convolutions lose more of their accuracy than the others, initializer by it."""
    found, blocks = [], _by_block(runs)
    for first, second in (("dws_conv", "regular_conv"), ("mbnet_v2", "basic_residual")):
        for norm in ("with_bn", "no_bn"):
            one, other = f"{first}_{norm}", f"{second}_{norm}"
            means = [fmean(v) for v in _differences(blocks.get(one, {}), blocks.get(other, {}), bits).values()]
            if len(means) > 1:
                low, high = interval(mean, [means], seed)
                rest = (fmean(means), low, high, DECREASE, f"{len(means)} initializers", low > 0)
                found.append(Finding(SEPARABLE, f"{one} against {other}", bits, *rest))
    return found


def early_ranges_cost(runs: list[Run], bits: str, seed: int) -> list[Finding]:
    """Within one architecture runs with larger ranges in the first layers lose more: Spearman's rank correlation.

    Initializers are resampled, each with the means of its runs, for those are near copies of one another. Held where
    the interval and a permutation test (one side, 2.5 %) say so: of few initializers intervals are too narrow.
    """
    found = []
    for what in ("weight", "activation"):
        for block, cells in _by_block(runs).items():
            if len(cells) < 5:
                continue
            ranges = [fmean(run.early(what) for run in own.values()) for own in cells.values()]
            losses = [fmean(run.quantized[bits].decrease for run in own.values()) for own in cells.values()]
            sides = np.array(ranges), np.array(losses)
            low, high = interval(rank_correlation, sides, seed)
            held = low > 0 and _pairing_p(*sides, seed) < LEVEL / 2
            rest = (float(rank_correlation(*sides)), low, high, "rho", f"{len(cells)} initializers", held)
            found.append(Finding(EARLY_RANGES.format(what=what), block, bits, *rest))
    return found


def _pairing_p(x: Floats, y: Floats, seed: int) -> float:
    """How often values that are paired at random correlate as much: p of a permutation test, exact for few of them."""
    found = permutation_test(
        (x,), lambda x, axis: rank_correlation(x, y), permutation_type="pairings", alternative="greater",
        vectorized=True, n_resamples=RESAMPLES, random_state=seed,
    )  # fmt: skip
    return float(found.pvalue)


def best_differ(runs: list[Run], bits: str, seed: int) -> list[Finding]:
    """The best float initializer is not the best quantized one: what choosing by float accuracy loses, over seeds.

    For every seed both are chosen by the other seeds, so that no run decides on what it is then measured by; Student's
    interval over seeds.
    """
    found = []
    for block, cells in _by_block(runs).items():
        most = max(len(own) for own in cells.values())
        whole = {name: own for name, own in cells.items() if len(own) == most}
        if len(whole) < 2:
            continue
        seeds = sorted(set.intersection(*(set(own) for own in whole.values())))
        if len(seeds) < 2:
            continue
        by_float = {seed: _best(whole, seed, lambda run: run.fp32 or 0.0) for seed in (-1, *seeds)}
        by_bits = {seed: _best(whole, seed, lambda run: run.quantized[bits].top1) for seed in (-1, *seeds)}
        lost = [whole[by_bits[s]][s].quantized[bits].top1 - whole[by_float[s]][s].quantized[bits].top1 for s in seeds]
        low, high = interval_of_mean(lost)
        note = f"float: {by_float[-1]}; quantized: {by_bits[-1]}"
        rest = (fmean(lost), low, high, "points", f"{len(lost)} seeds", low > 0, note)
        found.append(Finding(BEST, block, bits, *rest))
    return found


STATEMENTS: tuple[Statement, ...] = (
    initializer_matters, batch_norm_costs, separable_costs, early_ranges_cost, best_differ,
)  # fmt: skip
MATTERS = "The initializer changes quantized accuracy within one architecture"
NORM = "Batch norm raises the quantization error of some initializers"
SEPARABLE = "Depthwise-separable networks lose more"
EARLY_RANGES = "Large {what} ranges in early layers go with large loss"
BEST = "The best float initializer is not the best quantized one"
DECREASE = "points of per cent decrease"

Cells = dict[str, dict[int, Run]]
"""The runs of a block, by initializer and seed."""


def _by_block(runs: list[Run]) -> dict[str, Cells]:
    found: dict[str, Cells] = {}
    for run in runs:
        found.setdefault(run.block, {}).setdefault(run.initializer, {})[run.seed] = run
    return found


def _paired(one: dict[int, Run], other: dict[int, Run], value: Callable[[Run], float]) -> list[float]:
    """Differences of two initializers, or of two blocks, for every seed that both have."""
    return [value(one[seed]) - value(other[seed]) for seed in sorted(one.keys() & other.keys())]


def _best(cells: Cells, left_out: int, value: Callable[[Run], float]) -> str:
    """The initializer of the highest mean over all seeds but one."""
    return max(cells, key=lambda name: fmean(value(run) for seed, run in cells[name].items() if seed != left_out))


def _differences(one: Cells, other: Cells, bits: str) -> dict[str, list[float]]:
    """By how much more one block loses than another, in per cent decrease, by initializer and seed."""
    both = [name for name in one if name in other]
    pairs = {name: _paired(one[name], other[name], lambda run: run.quantized[bits].decrease) for name in both}
    return {name: values for name, values in pairs.items() if values}


def verdicts(findings: Sequence[Finding], bits: str) -> list[tuple[str, int, int]]:
    """Every statement with how often it held, and of how many."""
    chosen = sorted((one for one in findings if one.bits == bits), key=lambda one: CLAIMS.index(one.claim))
    return [
        (claim, sum(one.held for one in own), len(own))
        for claim, own in ((claim, list(group)) for claim, group in groupby(chosen, key=lambda one: one.claim))
    ]


CLAIMS = (MATTERS, NORM, SEPARABLE, *(EARLY_RANGES.format(what=what) for what in ("weight", "activation")), BEST)
