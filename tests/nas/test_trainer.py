"""Training runs of candidates: in which order, how long, how far they are, and which are not done again."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qnas.nas.candidate import Candidate
from qnas.nas.limits import Limits
from qnas.nas.rungs import Rung
from qnas.nas.settings import SearchSettings
from qnas.nas.trainer import JobTrainer
from qnas.network.costs import Costs
from qnas.quant.scheme import Bits
from qnas.scores.predicted import Score
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.jobs import Job
from qnas.training.recipe import Recipe
from qnas.work.ledger import Ledger, Result
from qnas.work.pool import Pool

SETTINGS = SearchSettings(Bits(4, 4), Limits(params=12_000), recipe=Recipe(steps=12), seed=3)


class AnyOrder(Pool[Job]):
    """A pool that does its work from the last piece to the first."""

    def run(self, pieces: list[Job], watch: Callable[[], None] = lambda: None) -> Iterator[tuple[Job, Result]]:
        yield from super().run(pieces[::-1], watch)


def by_channels(job: Job) -> Result:
    """An accuracy without any training."""
    return {"job": job.name, "top1": float(job.genotype.channels)}


def refuse(job: Job) -> Result:
    raise AssertionError(f"{job.name} was run again")


def wide(channels: int) -> Candidate:
    step = ((Branch(0, "conv", 3), Branch(1, "skip", 1)),)
    genotype = Genotype(3, 1, channels, 2, True, (), step, Bits(4, 4))
    return Candidate(genotype, Costs(100, 2000, 50, 60), Score(33.0, 1.9, -0.3))


@pytest.mark.parametrize("pool", [Pool, AnyOrder])
def test_a_trainer_gives_accuracies_in_the_order_of_its_candidates(tmp_path: Path, pool: type[Pool[Job]]) -> None:
    trainer = JobTrainer(SETTINGS, pool(by_channels, Ledger(tmp_path / "ledger")), "picks")
    assert trainer([wide(8), wide(4), wide(6)], Rung("halve", 3)) == [8, 4, 6]
    assert len(Ledger(tmp_path / "ledger").results) == 3


def test_who_waits_for_one_long_run_is_told_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what a shorter run took for each of its steps: 10 seconds for 5 of them, so 40 for 20."""
    told, clock = list[tuple[str, float]](), [0.0]

    class Slow(Pool[Job]):
        def run(self, pieces: list[Job], watch: Callable[[], None] = lambda: None) -> Iterator[tuple[Job, Result]]:
            for piece in pieces:
                for clock[0] in (10.0, 30.0, 60.0):
                    watch()
                yield piece, {**by_channels(piece), "seconds": 2.0 * piece.recipe.steps}
            clock[0] = 0.0

    monkeypatch.setattr("qnas.nas.trainer.time.monotonic", lambda: clock[0])

    def progress(stage: str, share: float, remark: str) -> None:
        told.append((stage, share))

    trainer = JobTrainer(SETTINGS, Slow(by_channels, Ledger(tmp_path / "ledger")), "picks", progress=progress)
    one = replace(wide(8), price=3.0)
    trainer([one], Rung("halve", 5))
    trainer([one], Rung("finish", 20))
    shorter = [("halve", 0.0)] * 3 + [("halve", 1.0)]
    assert told == [*shorter, ("finish", 0.25), ("finish", 0.75), ("finish", 0.95), ("finish", 1.0)]


def test_how_far_several_runs_are_never_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once on twice as fast threads: 10 seconds for 5 steps, so 20 for 20; then a third one."""
    told, clock = list[float](), [0.0]

    class TwoAtOnce(Pool[Job]):
        def run(self, pieces: list[Job], watch: Callable[[], None] = lambda: None) -> Iterator[tuple[Job, Result]]:
            for piece, ends in zip(pieces, (10.0, 20.0, 30.0), strict=False):
                for clock[0] in (ends - 5, ends):
                    watch()
                yield piece, {**by_channels(piece), "seconds": 2.0 * piece.recipe.steps}

    monkeypatch.setattr("qnas.nas.trainer.time.monotonic", lambda: clock[0])

    def progress(stage: str, share: float, remark: str) -> None:
        told.append(share)

    pool = TwoAtOnce(by_channels, Ledger(tmp_path / "ledger"))
    trainer = JobTrainer(SETTINGS, pool, "picks", progress=progress, gain=2.0)
    several = [replace(wide(channels), price=3.0) for channels in (4, 6, 8)]
    trainer(several[:1], Rung("halve", 5))
    clock[0], pool.workers = 0.0, 2
    del told[:]
    trainer(several, Rung("finish", 20, keep=True))
    assert told == sorted(told)
    assert told[:3] == pytest.approx([2 * 0.25 / 3, 2 * 0.5 / 3, 1 / 3])
    assert told[-1] == 1.0


def test_without_prices_runs_at_work_count_when_they_end(tmp_path: Path) -> None:
    told = list[float]()

    class Looking(Pool[Job]):
        def run(self, pieces: list[Job], watch: Callable[[], None] = lambda: None) -> Iterator[tuple[Job, Result]]:
            for piece in pieces:
                watch()
                yield piece, {**by_channels(piece), "seconds": 9.0}

    def progress(stage: str, share: float, remark: str) -> None:
        told.append(share)

    trainer = JobTrainer(SETTINGS, Looking(by_channels, Ledger(tmp_path / "ledger")), "picks", progress=progress)
    trainer([wide(4), wide(6)], Rung("halve", 5))
    assert told == [0.0, 0.5, 0.5, 1.0]


def test_a_trainers_jobs_follow_the_settings_the_means_and_the_rung(tmp_path: Path) -> None:
    asked: list[Job] = []

    def do(job: Job) -> Result:
        asked.append(job)
        return by_channels(job)

    settings = replace(SETTINGS, seed=5, data="cifar10", ghn="mine", recipe=Recipe(steps=120, batch=7), threads=2)
    made = [wide(8), wide(4)]
    trainer = JobTrainer(settings, Pool(do, Ledger(tmp_path / "ledger")), "picks", "cuda:1")
    trainer(made, Rung("calibrate", 10))
    trainer(made, Rung("finish", 120, keep=True))
    for steps, jobs in ((10, asked[:2]), (120, asked[2:])):
        outputs = [f"picks/{one.key}.safetensors" if steps == 120 else "" for one in made]
        assert jobs == [
            Job(
                one.genotype,
                Recipe(steps=steps, batch=7),
                5,
                "cifar10",
                "mine",
                "cuda:1",
                output,
                threads=2 if steps == 120 else 0,
            )
            for one, output in zip(made, outputs, strict=True)
        ]


def test_a_trainer_gives_all_the_same_time_where_there_is_a_usual_price(tmp_path: Path) -> None:
    asked: list[Job] = []

    def do(job: Job) -> Result:
        asked.append(job)
        return by_channels(job)

    settings = replace(SETTINGS, usual_price=50.0)
    made = [replace(wide(8), price=100.0), replace(wide(4), price=25.0)]
    trainer = JobTrainer(settings, Pool(do, Ledger(tmp_path / "ledger")), "picks")
    trainer(made, Rung("finish", 1000))
    trainer(made, Rung("calibrate", 10))
    assert [job.recipe.steps for job in asked] == [500, 2000, 5, 20]


def test_a_trainer_trains_nothing_again_that_its_ledger_has(tmp_path: Path) -> None:
    first = JobTrainer(SETTINGS, Pool(by_channels, Ledger(tmp_path / "ledger")), "picks")
    first([wide(8)], Rung("halve", 3))
    again = JobTrainer(SETTINGS, Pool(refuse, Ledger(tmp_path / "ledger")), "picks")
    assert again([wide(8)], Rung("halve", 3)) == [8]
    with pytest.raises(AssertionError, match="was run again"):
        again([wide(8)], Rung("calibrate", 1))


def test_a_trainer_tells_its_progress_and_the_best_so_far(tmp_path: Path) -> None:
    told: list[tuple[str, float, str]] = []

    def progress(*report: Any) -> None:
        told.append(report)

    trainer = JobTrainer(SETTINGS, Pool(by_channels, Ledger(tmp_path / "ledger")), "picks", progress=progress)
    trainer([wide(6), wide(8), wide(4)], Rung("halve", 3))
    assert told == [
        ("halve", 1 / 3, "1 of 3 networks, 3 steps, best 6.0 %"),
        ("halve", 2 / 3, "2 of 3 networks, 3 steps, best 8.0 %"),
        ("halve", 1.0, "3 of 3 networks, 3 steps, best 8.0 %"),
    ]
