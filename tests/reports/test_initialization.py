"""The tables and figures of a study as files that others read."""

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qnas.network.post_training import LayerRange
from qnas.reports.initialization import number, study_tables, write_study
from qnas.studies.init_runs import Quantized, Run
from qnas.studies.init_settings import SIMPLE, InitSettings
from qnas.studies.init_study import InitStudy, study_of


@pytest.fixture(scope="module")
def study() -> InitStudy:
    settings = InitSettings("digits", "", SIMPLE[:1], ("he_normal", "normal_large"), 2)
    runs = []
    for seed in range(2):
        for block in SIMPLE[:1]:
            score = Quantized(80.0 + seed, 1.0, 0.25, 0.5)
            layers = (LayerRange("stem", 2.0, 0.5, 3.0), LayerRange("classifier", 1.0, 0.75, 5.0))
            scores = dict.fromkeys(("quint8", "w4a4", "w2a2"), score)
            runs.append(Run(block, "he_normal", seed, "trained", 82.0, scores, layers))
            runs.append(Run(block, "normal_large", seed, "diverged", None, {}, ()))
    return study_of(settings, runs)


@pytest.fixture(scope="module")
def folder(study: InitStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study")
    assert set(write_study(study, path)) == set(path.iterdir())
    return path


def test_tables_are_written_and_read_back(study: InitStudy, folder: Path) -> None:
    with (folder / "runs.csv").open(encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    assert [run["status"] for run in runs[:2]] == ["trained", "diverged"]
    assert (runs[0]["quint8_top1"], runs[0]["early_weight"], runs[1]["fp32"]) == ("80.0", "1.5", "")
    with (folder / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["n"], rows[0]["quint8_top1_mean"], rows[0]["quint8_top1_sem"]) == ("2", "80.5", "0.5")
    assert (rows[1]["n"], rows[1]["diverged"], rows[1]["fp32_mean"]) == ("0", "2", "")
    page = (folder / "study.md").read_text(encoding="utf-8")
    assert "| regular_conv_with_bn | he_normal | 2 | 82.0 ± 0.0 | 80.5 ± 0.5 |" in page
    assert "| regular_conv_with_bn | normal_large | 0 | - | - | - | - | - | - | - | 2 diverged |" in page
    assert json.loads((folder / "study.json").read_text(encoding="utf-8")) == json.loads(json.dumps(study.to_json()))


def test_figures_are_whole_as_svg_and_png(study: InitStudy, folder: Path) -> None:
    for name in ("decrease", *(f"layers-{block}" for block in study.settings.blocks)):
        assert ET.parse(folder / f"{name}.svg").getroot().tag.endswith("svg")
        with Image.open(folder / f"{name}.png") as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 200


def test_what_is_printed_names_every_row_and_verdict(study: InitStudy) -> None:
    table, details, held = study_tables(study)
    assert table.row_count == 2
    assert details.row_count == sum(one.bits == "quint8" for one in study.findings)
    assert held.row_count <= 6


@pytest.mark.parametrize(
    ("given", "text"), [((82.04, 0.5, 3), "82.0 ± 0.5"), ((0.0123, 0.001, 3), "0.012 ± 0.001"), ((9.5, 0.0, 1), "9.5")]
)
def test_numbers_have_their_errors_where_there_are_some(given: tuple[float, float, int], text: str) -> None:
    assert number(*given) == text
