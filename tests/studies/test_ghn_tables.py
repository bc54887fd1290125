"""The rows of the paper's tables held against scores taken one by one and numpy's statistics."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.data.images import DataSet
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.quant.scheme import FP32, PAPER_BITS, Bits
from qnas.sampling.generator import stream
from qnas.scores.accuracy import predicted_accuracy
from qnas.space.space import SPLITS, find_space
from qnas.studies.ghn_tables import Row, at_chance, evaluate_ghn, score_networks, summarise
from qnas.studies.paper import PAPER
from qnas.task import Task

SMALL = GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8))


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_a_summary_is_mean_standard_error_and_maximum(values: list[float]) -> None:
    expected = (np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values)), np.max(values))
    assert summarise(values) == pytest.approx(expected, abs=1e-9)


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


def test_cells_at_chance_are_named() -> None:
    rows = [
        Row("id", bits, 9, mean, 1.0, *(0.0,) * 13) for bits, mean in {"fp32": 12.1, "w4a4": 12.0, "w2a2": 8.0}.items()
    ]
    assert at_chance(rows, 10.0) == ["id w4a4", "id w2a2"]


def test_one_value_has_no_standard_error() -> None:
    assert summarise([40.0]) == (40.0, 0.0, 40.0)


@torch.no_grad()
def test_rows_hold_the_scores_of_the_same_unseen_networks_at_every_width(digits_data: DataSet) -> None:
    ghn, space, images = GHN(SMALL), find_space("tiny"), digits_data.validation.first(64)
    told: list[tuple[float, str]] = []
    settings = [FP32, Bits(4, 4)]
    table = evaluate_ghn(
        ghn, space, images, ["id", "deep"], settings, 2, 5,
        data="digits", part="validation", report=lambda *report: told.append(report),
    )  # fmt: skip
    rows, kept = table.rows, table.networks
    assert [(row.split, row.bits, row.n) for row in rows] == [
        ("id", "fp32", 2), ("id", "w4a4", 2), ("deep", "fp32", 2), ("deep", "w4a4", 2),
    ]  # fmt: skip
    assert told == [(place / 8, f"{place} of 8") for place in range(1, 9)]
    drawn = list(islice(stream(space.of_split("deep"), 5, "held_out"), 2))
    plans = [build_plan(genotype, Task((1, 8, 8), 10)) for genotype in drawn]
    scores = [predicted_accuracy(plan, ghn([plan])[0], images) for plan in plans]
    assert rows[2].top1_mean == pytest.approx(np.mean([score.top1 for score in scores]))
    deep = [(row["split"], row["bits"]) for row in kept[4:]]
    assert deep == [("deep", str(bits)) for _ in range(2) for bits in settings]
    assert [row["network"] for row in kept[4::2]] == [genotype.architecture for genotype in drawn]
    assert [(row["top1"], row["top5"]) for row in kept[4::2]] == [pytest.approx(tuple(score)) for score in scores]
    assert rows[2].top1_max == pytest.approx(max(score.top1 for score in scores))
    assert rows[2].top5_mean == pytest.approx(np.mean([score.top5 for score in scores]))
    assert table.title == "digits, 64 validation images, predicted parameters without training, a step a tensor"
    assert {"data", "part", "images", "space", "seed", "weights", "closed_head", "rows"} == table.to_json().keys()
