"""Figures are whole SVG files that hold what they are drawn from."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from qnas.quant.scheme import PAPER_BITS, Bits
from qnas.reports.figures import ghn_figure, proxy_figure, training_figure
from qnas.scores.predicted import Score
from qnas.scores.ranks import Agreement
from qnas.studies.ghn_tables import Row, row_of
from qnas.studies.proxy import ProxyRow


def row(split: str, bits: Bits) -> Row:
    return row_of(split, bits, [Score(50.0, 2.0, 0.1, 90.0, 1.0, 0.1, 1.0), Score(60.0, 1.5, 0.2, 95.0, 2.0, 0.3, 3.0)])


def test_a_row_summarises_its_networks() -> None:
    found = row("deep", Bits(4, 4))
    assert (found.split, found.bits, found.n) == ("deep", "w4a4", 2)
    assert (found.top1_mean, found.top1_max, found.top5_mean, found.drop_max) == (55, 60, 92.5, 2)
    assert (found.top1_sem, found.qmse_mean, found.qce_mean) == pytest.approx((5, 0.2, 2))


@pytest.mark.parametrize("splits", [("id",), ("id", "deep", "wide", "bn_free")])
def test_a_table_is_drawn_with_a_panel_a_split(splits: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "table.svg"
    ghn_figure([row(split, bits) for split in splits for bits in PAPER_BITS], "some data", path)
    groups = [element.get("id", "") for element in ET.parse(path).iter() if element.tag.endswith("}g")]
    assert sum(name.startswith("axes_") for name in groups) == len(splits)


def test_the_same_table_is_the_same_file(tmp_path: Path) -> None:
    rows = [row("id", Bits(3, 3))]
    for name in ("one.svg", "two.svg"):
        ghn_figure(rows, "some data", tmp_path / name)
    first, second = ((tmp_path / name).read_text(encoding="utf-8") for name in ("one.svg", "two.svg"))
    assert len(first) == len(second)


@pytest.mark.parametrize("count", [0, 1, 6])
def test_a_training_curve_of_any_length_is_drawn(count: int, tmp_path: Path) -> None:
    rows = [
        {"step": 50 * n, "phase": "float" if n < 3 else "quantized", "rate": 0.1, "loss": 2.0, "accuracy": 20.0}
        for n in range(count)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")
    training_figure(tmp_path / "metrics.jsonl", tmp_path / "metrics.svg")
    panels = [element.get("id", "") for element in ET.parse(tmp_path / "metrics.svg").iter()]
    assert sum(name.startswith("axes_") for name in panels) == 2


@pytest.mark.parametrize("widths", [("w4a4",), ("w8a8", "w2a2")])
def test_scores_are_drawn_beside_truths_one_panel_each(widths: tuple[str, ...], tmp_path: Path) -> None:
    found = Agreement(2, 0.5, 0.1, 0.8, 0.6, 0.3, 0.35, 4.0, 2.0, 1.0, 0.4)
    points = {"truth": [50.0, 60.0], "calibrated": [51.0, 58.0], "predicted": [20.0, 30.0]}
    rows = [ProxyRow(bits, 12, 2, None, {"calibrated": found, "predicted": found}, points) for bits in widths]
    proxy_figure(rows, "some data", tmp_path / "proxy.svg")
    names = [element.get("id", "") for element in ET.parse(tmp_path / "proxy.svg").iter()]
    assert sum(name.startswith("axes_") for name in names) == 2 * len(widths)
