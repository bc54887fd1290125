"""The rows of the paper's tables held against scores taken one by one and numpy's statistics."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.data.images import DataSet
from qnas.scores.accuracy import predicted_accuracy
from qnas.studies.ghn_tables import Score, evaluate_ghn, quantized_score, score_networks, summarise
from qnas.studies.paper import PAPER
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.forward import DynamicArithmetic, FloatArithmetic, forward
from qnas.quant.scheme import FP32, PAPER_BITS, Bits
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import SPLITS, find_space

SMALL = GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8))


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_a_summary_is_mean_standard_error_and_maximum(values: list[float]) -> None:
    expected = (np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values)), np.max(values))
    assert summarise(values) == pytest.approx(expected, abs=1e-9)


@torch.no_grad()
def test_drop_and_qmse_compare_rounded_logits_with_those_of_the_same_parameters_in_float(digits_data: DataSet) -> None:
    ghn, images = GHN(SMALL), digits_data.validation.first(64)
    plan = build_plan(next(stream(find_space("tiny"), 3, bits=Bits(3, 3))), (1, 8, 8), 10)
    parameters = ghn([plan])[0]
    x, labels = images.batch(slice(None))
    real, rounded = (forward(plan, parameters, x, kind) for kind in (FloatArithmetic(), DynamicArithmetic()))
    score = quantized_score(plan, parameters, images)
    right = [100 * (logits.argmax(1) == labels).double().mean().item() for logits in (real, rounded)]
    assert (score.top1, score.drop) == pytest.approx((right[1], right[0] - right[1]), abs=1e-4)
    assert score.qmse == pytest.approx((real - rounded).square().mean().item(), rel=1e-5)
    assert score.qmse > 0


@torch.no_grad()
def test_without_rounding_nothing_drops(digits_data: DataSet) -> None:
    plan = build_plan(next(stream(find_space("tiny"), 3)), (1, 8, 8), 10)
    score = quantized_score(plan, GHN(SMALL)([plan], whole=False)[0], digits_data.validation)
    assert (score.drop, score.qmse) == (0, 0)


@torch.no_grad()
def test_networks_scored_together_have_their_own_scores(digits_data: DataSet) -> None:
    ghn, space, images = GHN(SMALL), find_space("tiny"), digits_data.validation.first(64)
    drawn, settings = list(islice(stream(space, 5), 3)), [FP32, Bits(8, 8)]
    for genotype, row in zip(drawn, score_networks(ghn, drawn, space, images, settings), strict=True):
        plans = [build_plan(genotype.with_bits(bits), Task((1, 8, 8), 10)) for bits in settings]
        assert row == [predicted_accuracy(plan, ghn([plan], whole=False)[0], images) for plan in plans]


def test_the_paper_has_a_figure_for_every_cell() -> None:
    assert set(PAPER) == {(split, str(bits)) for split in SPLITS for bits in PAPER_BITS}
    assert all(figure.top1 < figure.top1_max for figure in PAPER.values())


def test_one_value_has_no_standard_error() -> None:
    assert summarise([40.0]) == (40.0, 0.0, 40.0)


@torch.no_grad()
def test_rows_hold_the_scores_of_the_same_unseen_networks_at_every_width(digits_data: DataSet) -> None:
    ghn, space, images = GHN(SMALL), find_space("tiny"), digits_data.validation.first(64)
    told: list[int] = []
    kept: list[tuple[str, Bits, Genotype, Score]] = []
    settings = [FP32, Bits(4, 4)]
    rows = evaluate_ghn(
        ghn, space, images, ["id", "deep"], settings, 2, 5, told.append, lambda *score: kept.append(score)
    )
    assert [(row.split, row.bits, row.n) for row in rows] == [
        ("id", "fp32", 2), ("id", "w4a4", 2), ("deep", "fp32", 2), ("deep", "w4a4", 2),
    ]  # fmt: skip
    assert told == [*range(1, 9)]
    drawn = list(islice(stream(space.of_split("deep"), 5, "held_out"), 2))
    plans = [build_plan(genotype, Task((1, 8, 8), 10)) for genotype in drawn]
    scores = [predicted_accuracy(plan, ghn([plan])[0], images) for plan in plans]
    assert rows[2].top1_mean == pytest.approx(np.mean([score.top1 for score in scores]))
    assert [(split, bits) for split, bits, *_ in kept[4:]] == [("deep", bits) for _ in range(2) for bits in settings]
    assert [genotype for _, _, genotype, _ in kept[4::2]] == drawn
    assert np.array([score[:2] for *_, score in kept[4::2]]) == pytest.approx(np.array(scores))
    assert rows[2].top1_max == pytest.approx(max(score.top1 for score in scores))
    assert rows[2].top5_mean == pytest.approx(np.mean([score.top5 for score in scores]))
