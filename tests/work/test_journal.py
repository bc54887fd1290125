"""A log that several read and write, and whose last line a kill may have cut off."""

import json
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.storages import JournalStorage

from qnas.digest import digest_of
from qnas.errors import QnasError
from qnas.nas.proposer import Proposer
from qnas.quant.scheme import MIXED
from qnas.space.genes import gene_choices, genes_at, places_of
from qnas.space.space import find_space
from qnas.work.journal import JournalFile
from qnas.work.queue import StudyAddress, WorkQueue, payload_of

LOGS = [{"op": number, "text": "é" * number} for number in range(6)]


def read(journal: JournalFile, start: int = 0) -> list[dict[str, Any]]:
    return list(journal.read_logs(start))


def test_another_reads_the_logs_in_order(tmp_path: Path) -> None:
    writer, reader = JournalFile(tmp_path / "log"), JournalFile(tmp_path / "log")
    writer.append_logs(LOGS[:2])
    writer.append_logs(LOGS[2:])
    assert read(reader) == read(writer) == LOGS


def test_a_new_log_is_empty(tmp_path: Path) -> None:
    assert read(JournalFile(tmp_path / "log")) == []


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    writer, reader = JournalFile(tmp_path / "log"), JournalFile(tmp_path / "log")
    for start, end in ((0, 1), (1, 4), (4, 4), (4, 6)):
        writer.append_logs(LOGS[start:end])
        before = reader.position
        assert read(reader, start) == LOGS[start:end]
        assert (reader.position > before) == (end > start)


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    writer, reader = JournalFile(tmp_path / "log"), JournalFile(tmp_path / "log")
    writer.append_logs(LOGS[:3])
    read(reader)
    path = tmp_path / "log"
    path.write_bytes(b"#" * (path.stat().st_size - 1) + b"\n")  # which is no JSON
    writer.append_logs(LOGS[3:])
    assert read(reader, 3) == LOGS[3:]


@pytest.mark.parametrize("start", [0, 2, 5, 6])
def test_reading_may_begin_anywhere(tmp_path: Path, start: int) -> None:
    journal = JournalFile(tmp_path / "log")
    journal.append_logs(LOGS)
    read(journal)
    assert read(journal, start) == LOGS[start:]
    assert read(JournalFile(tmp_path / "log"), start) == LOGS[start:]


@pytest.mark.parametrize("cut", [1, 2, 10])
def test_a_cut_off_line_is_not_read_and_the_next_append_removes_it(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    JournalFile(path).append_logs(LOGS[:3])
    path.write_bytes(path.read_bytes()[:-cut])
    reader = JournalFile(path)
    assert read(reader) == LOGS[:2]
    JournalFile(path).append_logs(LOGS[4:])
    assert read(reader, 2) == LOGS[4:]
    assert read(JournalFile(path)) == LOGS[:2] + LOGS[4:]


def test_a_log_whose_only_line_is_cut_off_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"op":')
    journal = JournalFile(tmp_path / "log")
    assert read(journal) == []
    journal.append_logs(LOGS)
    assert read(journal) == LOGS


def test_two_storages_write_one_study_by_turns(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storages = [JournalStorage(JournalFile(tmp_path / "log")) for _ in range(2)]
    studies = [optuna.create_study(storage=one, study_name="it", load_if_exists=True) for one in storages]
    for number in range(10):
        studies[number % 2].add_trial(optuna.trial.create_trial(value=float(number)))
        assert [trial.value for trial in studies[1 - number % 2].trials] == list(range(number + 1))
    again = optuna.load_study(storage=JournalStorage(JournalFile(tmp_path / "log")), study_name="it")
    assert [trial.number for trial in again.trials] == list(range(10))
    assert again.best_value == 0


@pytest.mark.parametrize("line", [b"garbage", b"3", b'{"distributions": "0", "params": [1]}'])
def test_a_damaged_line_is_named_with_its_number(tmp_path: Path, line: bytes) -> None:
    JournalFile(tmp_path / "log").append_logs(LOGS[:2])
    with (tmp_path / "log").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(QnasError, match=r"log cannot be read as a journal of trials \(line 3.*\); delete it"):
        read(JournalFile(tmp_path / "log"))


def test_what_is_no_file_or_far_too_large_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(3 << 30)
    for name, reason in (("pipe", "it is no regular file"), ("large", "it has more than 268,435,456 bytes")):
        with pytest.raises(QnasError, match=rf"{name} cannot be read as a journal of trials \({reason}\)"):
            JournalFile(tmp_path / name)


def test_trials_of_many_genes_take_little_room(tmp_path: Path) -> None:
    choices = gene_choices(find_space("mobile"), MIXED)
    queue = WorkQueue(StudyAddress(str(tmp_path / "log"), "it", "me", alone=True))
    proposals = Proposer("random", 0, choices).propose(20)
    for number, genes in enumerate(proposals):
        claimed = queue.claim(str(number), constraints={"budget": 0.1})
        assert claimed is not None
        queue.finish(claimed, [1.0], genes=places_of(choices, genes), score=[1.0, 0.5, 0.25], images=64, latency=0.0)
    assert (tmp_path / "log").stat().st_size / 20 < 2048
    done = WorkQueue(StudyAddress(str(tmp_path / "log"), "it", "other")).done
    assert [genes_at(choices, payload_of(done[str(number)])["genes"]) for number in range(20)] == proposals


def test_genes_that_earlier_versions_wrote_as_parameters_are_read(tmp_path: Path) -> None:
    space = {"kernel": CategoricalDistribution((3, 5, 7)), "op": CategoricalDistribution(("conv", "skip"))}
    texts = {name: distribution_to_json(one) for name, one in space.items()}
    trial = {"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": "2026-01-01T00:00:00", "state": 0}
    logs = [
        {"op_code": 0, "worker_id": "w", "study_name": "it", "directions": [2]},
        {**trial, "distributions": texts, "params": {"kernel": 2, "op": 1}},
        {**trial, "distributions": digest_of(texts), "params": [1, 0]},
    ]
    (tmp_path / "log").write_text("".join(json.dumps(log) + "\n" for log in logs), encoding="utf-8")
    trials = optuna.load_study(storage=JournalStorage(JournalFile(tmp_path / "log")), study_name="it").trials
    assert [trial.params for trial in trials] == [{"kernel": 7, "op": "skip"}, {"kernel": 5, "op": "conv"}]
    assert [trial.distributions for trial in trials] == [space, space]
