"""The rows of the paper's tables held against scores taken one by one and numpy's statistics."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.data.images import DataSet
from qnas.evaluation.accuracy import predicted_accuracy
from qnas.evaluation.ghn_tables import evaluate_ghn, summarise
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space

SMALL = GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8))


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_a_summary_is_mean_standard_error_and_maximum(values: list[float]) -> None:
    expected = (np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values)), np.max(values))
    assert summarise(values) == pytest.approx(expected, abs=1e-9)


def test_one_value_has_no_standard_error() -> None:
    assert summarise([40.0]) == (40.0, 0.0, 40.0)


@torch.no_grad()
def test_rows_hold_the_scores_of_the_same_unseen_networks_at_every_width(digits_data: DataSet) -> None:
    ghn, space, images = GHN(SMALL), find_space("tiny"), digits_data.validation.first(64)
    told: list[None] = []
    rows = evaluate_ghn(ghn, space, images, ["id", "deep"], [FP32, Bits(4, 4)], 2, 5, lambda: told.append(None))
    assert [(row.split, row.bits, row.n) for row in rows] == [
        ("id", "fp32", 2), ("id", "w4a4", 2), ("deep", "fp32", 2), ("deep", "w4a4", 2),
    ]  # fmt: skip
    assert len(told) == 8
    drawn = list(islice(stream(space.of_split("deep"), 5, "held_out"), 2))
    plans = [build_plan(genotype.with_bits(Bits(4, 4)), (1, 8, 8), 10) for genotype in drawn]
    scores = [predicted_accuracy(plan, ghn([plan])[0], images) for plan in plans]
    assert rows[-1].top1_mean == pytest.approx(np.mean([score.top1 for score in scores]))
    assert rows[-1].top1_max == pytest.approx(max(score.top1 for score in scores))
    assert rows[-1].top5_mean == pytest.approx(np.mean([score.top5 for score in scores]))
