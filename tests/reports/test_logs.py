"""What a run has noted, as a table and as TensorBoard reads it."""

import csv
import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import qnas
from qnas.errors import QnasError
from qnas.nas.result import networks_of, read_result
from qnas.reports import logs
from qnas.runs.files import read_rows
from qnas.training.metrics import METRICS, STEPS_PER_LINE

STEPS = 2 * STEPS_PER_LINE + 10


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    qnas.train("ds_cnn", width=4, bits="w4a4", data="digits", steps=STEPS, out=folder)
    return folder


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "run"
    qnas.search("w4a4", data="digits", max_params=20_000, trials=6, steps=12, workers=1, out=folder)
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_training_notes_loss_and_rate_every_few_steps(trained: Path) -> None:
    rows = table(qnas.logs(trained))
    assert [int(row["step"]) for row in rows] == [STEPS_PER_LINE, 2 * STEPS_PER_LINE]
    first, second = (float(row["loss"]) for row in rows)
    assert 0 < second < first < 3
    assert float(rows[1]["rate"]) < float(rows[0]["rate"]) <= 1e-2


def test_a_search_notes_all_networks_that_were_scored(searched: Path) -> None:
    rows, networks = table(qnas.logs(searched)), networks_of(read_result(searched))
    assert [row["network"] for row in rows] == [one["key"] for one in networks]
    assert [row["number"] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert [float(row["weight_bytes"]) for row in rows] == [one["weight_bytes"] for one in networks]
    assert sum(row["trained 12 steps"] != "" for row in rows) >= 1


def test_tensorboard_reads_what_the_table_has(trained: Path, tmp_path: Path) -> None:
    others = tmp_path / "events.out.tfevents.1.host"
    others.touch()
    assert qnas.logs(trained, to="tensorboard", out=tmp_path) == tmp_path
    qnas.logs(trained, to="tensorboard", out=tmp_path)  # takes the place of the first
    (file,) = set(tmp_path.iterdir()) - {others}
    events = EventAccumulator(str(file)).Reload()
    found = [(event.step, event.value) for event in events.Scalars("metrics/loss")]
    expected = [(row["step"], row["loss"]) for row in read_rows(trained / METRICS)]
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in expected])


def test_without_the_package_one_sentence_says_how_to_have_it(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(logs, "import_module", missing)
    with pytest.raises(QnasError, match=re.escape("pip install 'qnas[tensorboard]', or take `to='csv'`.")):
        qnas.logs(trained, to="tensorboard")


def test_what_has_noted_nothing_and_kinds_that_are_none_are_one_sentence_each(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(QnasError, match=r"holds neither metrics.jsonl nor result.json; name such a run's folder"):
        qnas.logs(tmp_path)
    with pytest.raises(QnasError, match="No kind of logs is called 'cvs'; did you mean 'csv'"):
        qnas.logs(trained, to="cvs")
    (tmp_path / METRICS).touch()
    with pytest.raises(QnasError, match="has noted nothing yet"):
        qnas.logs(tmp_path)
    (tmp_path / METRICS).write_text('nothing of use\n{"step": 1}\n', encoding="utf-8")
    with pytest.raises(QnasError, match="cannot be read as training metrics"):
        qnas.logs(tmp_path)
