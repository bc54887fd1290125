"""How the table of trained networks is made: which runs it holds, and that it can be continued."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.nas.limits import Limits
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space
from qnas.studies.benchmark_table import BenchmarkTable, Entry, Run
from qnas.studies.settings import Part, TableSettings
from qnas.studies.table_runs import (
    check_alike,
    describe,
    drawn,
    make_table,
    run_all,
    table_jobs,
    take_over,
)
from qnas.training.jobs import Job, one_thread, run_job
from qnas.training.recipe import Recipe
from qnas.work.ledger import Ledger
from qnas.work.pool import Pool

SPACE = find_space("tiny")
SETTINGS = TableSettings("digits", "tiny", "digits", 3, (Bits(4, 4), Bits(2, 2)), 2, Recipe(24))


def fake(job: Job) -> dict[str, Any]:
    told = {"job": job.name, "top1": 90.12345, "top5": 99.0, "test_top1": 80.0 + job.recipe.steps, "seconds": 0.5}
    return told | ({"losses": [2.5, 0.125]} if job.ghn else {})


def silent(share: float, remark: str) -> None:
    assert 0 < share <= 1


@pytest.fixture
def entries(tmp_path: Path, digits_data: DataSet) -> list[Entry]:
    with Pool(fake, Ledger(tmp_path / "ledger")) as pool:
        runs = run_all(pool, table_jobs(SETTINGS, drawn(SPACE, SETTINGS), 17), silent)
    few = replace(digits_data, validation=digits_data.validation.first(64))
    return list(describe(runs, load_checkpoint("digits"), SPACE, few, silent))


def test_every_network_has_its_runs_at_every_width(entries: list[Entry]) -> None:
    assert [str(entry.genotype.bits) for entry in entries] == ["w4a4"] * 3 + ["w2a2"] * 3
    assert len({entry.genotype.key for entry in entries}) == 6
    lengths = {(0, 2), (0, 6), (0, 17), (0, 24), (1, 24)}
    wanted = sorted((start, *length) for start in ("predicted", "random") for length in lengths)
    for entry in entries:
        assert [(run.start, run.seed, run.steps) for run in entry.runs] == wanted


def test_every_entry_says_what_is_known_before_training(entries: list[Entry]) -> None:
    for entry in entries:
        assert {"top1", "drop", "qmse", "gradient_norm", "snip"} <= entry.signals.keys()
        assert entry.signals["top1"] > 15
        assert len(entry.embedding) == 32
        assert entry.costs.params > 0
    assert len({entry.embedding for entry in entries}) == len(entries)


IDENTITY = {
    "data": "digits",
    "ghn": "digits",
    "space_hash": "a",
    "ghn_hash": "b",
    "recipe": SETTINGS.recipe.ingredients,
}


def test_a_larger_table_does_only_the_runs_that_an_older_one_lacks(entries: list[Entry], tmp_path: Path) -> None:
    done: list[Job] = []

    def noted(job: Job) -> dict[str, Any]:
        done.append(job)
        return fake(job)

    larger = replace(SETTINGS, bits=(*SETTINGS.bits, Bits(8, 8)))
    ledger = Ledger(tmp_path / "larger")
    take_over(BenchmarkTable(IDENTITY, 17, tuple(entries)), IDENTITY, ledger)
    with Pool(noted, ledger) as pool:
        runs = run_all(pool, table_jobs(larger, drawn(SPACE, larger), 17), silent)
    assert {job.genotype.bits for job in done} == {Bits(8, 8)}
    for entry in entries:
        assert sorted(runs[entry.genotype], key=lambda run: (run.start, run.seed, run.steps)) == list(entry.runs)


def test_of_a_table_of_another_hypernetwork_the_random_starts_are_kept(entries: list[Entry], tmp_path: Path) -> None:
    table, ledger = BenchmarkTable({**IDENTITY, "ghn_hash": "c"}, 17, tuple(entries)), Ledger(tmp_path / "newer")
    check_alike(table, IDENTITY)
    take_over(table, IDENTITY, ledger)
    jobs = table_jobs(SETTINGS, drawn(SPACE, SETTINGS), 17)
    assert {job.name in ledger.results for job in jobs if job.ghn} == {False}
    assert {job.name in ledger.results for job in jobs if not job.ghn} == {True}


@pytest.mark.parametrize("key", ["data", "space_hash", "recipe"])
def test_a_table_of_another_kind_is_refused(entries: list[Entry], key: str) -> None:
    check_alike(BenchmarkTable(IDENTITY, 17, tuple(entries)), IDENTITY)
    with pytest.raises(QnasError, match=f"but {key} differ; leave out `start_from`"):
        check_alike(BenchmarkTable({**IDENTITY, key: "c"}, 17, tuple(entries)), IDENTITY)


def test_a_table_goes_on_from_one_of_the_same_images_wherever_they_lie(entries: list[Entry]) -> None:
    older = BenchmarkTable({**IDENTITY, "images": {"pixels": "a"}}, 17, tuple(entries))
    check_alike(older, {**IDENTITY, "images": {"pixels": "a"}, "data": "elsewhere"})
    with pytest.raises(QnasError, match="but images differ; leave out `start_from`"):
        check_alike(older, {**IDENTITY, "images": {"pixels": "b"}})


def test_a_table_is_continued_by_one_process_and_with_the_same_images_only(tmp_path: Path) -> None:
    settings = replace(SETTINGS, networks=1, bits=(Bits(4, 4),), seeds=1, recipe=Recipe(1))
    asked: list[Job] = []

    def do(job: Job) -> dict[str, Any]:
        asked.append(job)
        return fake(job)

    make_table(settings, tmp_path, do=do)
    run = json.loads((tmp_path / "run.json").read_bytes())
    images = run["settings"]["images"]
    assert {job.images for job in asked} == {json.dumps(images)}
    with FileLock(tmp_path / "run.lock"), pytest.raises(QnasError, match="One run at a time works in a folder"):
        make_table(settings, tmp_path, do=do)
    changed = {**run, "settings": {**run["settings"], "images": {**images, "pixels": "0"}}}
    (tmp_path / "run.json").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(QnasError, match="the images themselves, or which class they are of"):
        make_table(settings, tmp_path, do=do)


def test_runs_that_fail_are_left_out(tmp_path: Path) -> None:
    def failing(job: Job) -> dict[str, Any]:
        return {"job": job.name, "failed": "out of memory"} if job.ghn else fake(job)

    settings = replace(SETTINGS, networks=1)
    with Pool(failing, Ledger(tmp_path / "ledger")) as pool:
        runs = run_all(pool, table_jobs(settings, drawn(SPACE, settings), 17), silent)
    assert {run.start for found in runs.values() for run in found} == {"random"}


def test_the_networks_are_none_that_a_hypernetwork_is_trained_on() -> None:
    trained_on = {genotype.architecture for genotype in islice(stream(SPACE, 0, "train"), 200)}
    assert trained_on.isdisjoint(genotype.architecture for genotype in drawn(SPACE, replace(SETTINGS, networks=50)))


def test_all_networks_keep_the_limits_at_the_first_widths() -> None:
    limited = replace(SETTINGS, networks=20, limits=Limits(weight_bytes=12_000, macs=1_000_000))
    plans = [build_plan(one.with_bits(Bits(4, 4)), SPACE.task) for one in drawn(SPACE, limited)]
    assert len(plans) == 20
    assert max(costs(plan).weight_bytes for plan in plans) <= 12_000
    assert max(costs(plan).macs for plan in plans) <= 1_000_000
    with pytest.raises(QnasError, match="A table of 20 networks needs as many that keep its limits, got 0 of 2000"):
        drawn(SPACE, replace(limited, limits=Limits(weight_bytes=10)))


def test_parts_say_which_networks_are_trained_how_long_and_from_where() -> None:
    parts = (Part(Bits(4, 4), 3), Part(Bits(4, 4), 1, 1, ("random",), 2), Part(Bits(2, 2), 2, 2.5, ("predicted",)))
    settings = replace(SETTINGS, parts=parts)
    genotypes = drawn(SPACE, settings)
    assert genotypes == drawn(SPACE, SETTINGS)[:3]
    found = [
        (str(job.genotype.bits), genotypes.index(job.genotype.with_bits(genotypes[0].bits)), bool(job.ghn), job.seed,
         job.recipe.steps)
        for job in table_jobs(settings, genotypes, 10)
    ]  # fmt: skip
    first = [("w4a4", network, ghn, 0, 10) for network in range(3) for ghn in (False, True)]
    again = [("w4a4", 0, False, 1, 10)]  # the first seed's is there already
    assert found == [*first, *again, ("w2a2", 0, True, 0, 25), ("w2a2", 1, True, 0, 25)]


def test_networks_of_mixed_widths_are_the_same_again_and_no_wider_than_asked() -> None:
    settings = replace(SETTINGS, parts=(Part(Bits(4, 8), 3, mixed=True),))
    genotypes = drawn(SPACE, settings)
    found = [job.genotype for job in table_jobs(settings, genotypes, 10)]
    assert found == [job.genotype for job in table_jobs(settings, genotypes, 10)]
    assert [one.architecture for one in found[::2]] == [one.architecture for one in genotypes]
    assert {bits for one in found for bits in one.layer_bits} == {Bits(2, 2), Bits(4, 4), Bits(4, 8)}
    other = table_jobs(replace(settings, seed=1), genotypes, 10)
    assert [job.genotype for job in other] != found


@pytest.mark.parametrize("change", [{"networks": 0}, {"seeds": 0}])
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(QnasError):
        replace(SETTINGS, **change)


def test_runs_of_no_steps_are_refused() -> None:
    with pytest.raises(QnasError, match="`steps` is at least 1, got 0"):
        SETTINGS.recipe.of(0)


def test_a_real_run_has_both_accuracies(tmp_path: Path) -> None:
    settings = replace(SETTINGS, networks=1, bits=(Bits(4, 4),), seeds=1, recipe=Recipe(1))
    jobs = table_jobs(settings, drawn(SPACE, settings), 1)
    with Pool(run_job, Ledger(tmp_path / "ledger"), begin=one_thread) as pool:
        (runs,) = run_all(pool, jobs, silent).values()
    assert all(isinstance(run, Run) and 0 <= run.test <= 100 for run in runs)
    predicted, random = (next(run for run in runs if run.start == start) for start in ("predicted", "random"))
    assert predicted.test > random.test
