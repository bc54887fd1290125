"""Rows of a study: means over what counts, and counts of what does not."""

from statistics import fmean, stdev

import pytest

from qnas.studies.init_runs import Run
from qnas.studies.init_settings import InitSettings
from qnas.studies.init_study import MEASURES, study_of


def test_rows_are_means_over_seeds_of_the_runs_that_count(
    made_up_settings: InitSettings, made_up_runs: list[Run]
) -> None:
    study = study_of(made_up_settings, made_up_runs)
    assert len(study.rows) == 4 * 6
    for row in study.rows:
        own = [run for run in made_up_runs if (run.block, run.initializer) == (row.block, row.initializer)]
        good = [run.quantized["w4a4"].qmse for run in own if run.trained]
        assert row.n + row.diverged + row.chance == 3
        if good:
            error = stdev(good) / len(good) ** 0.5
            assert row.means["w4a4_qmse"] == pytest.approx((fmean(good), error))
            assert list(row.means) == list(MEASURES)
    failed = {(row.block, row.diverged, row.chance) for row in study.rows if row.n < 3}
    assert failed == {("regular_conv_no_bn", 3, 0), ("dws_conv_no_bn", 3, 0), ("dws_conv_with_bn", 0, 1)}


def test_its_plain_values_hold_everything(made_up_settings: InitSettings, made_up_runs: list[Run]) -> None:
    plain = study_of(made_up_settings, made_up_runs).to_json()
    assert (len(plain["runs"]), len(plain["rows"])) == (72, 24)
    assert plain["settings"]["protocol"]["momentum"] == 0.9
    assert plain["runs"][0]["quint8_top1"] == made_up_runs[0].quantized["quint8"].top1
    assert plain["runs"][0]["layers"][0]["name"] == "layer0"
    assert "n" in plain["findings"][0]
