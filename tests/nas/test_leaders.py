"""The best networks so far: trained ones first, and whom they are told to."""

from pathlib import Path
from typing import Any

from qnas.nas.candidate import Candidate
from qnas.nas.leaders import MOST, Leaders
from qnas.nas.limits import Limits
from qnas.nas.rungs import Rung
from qnas.nas.settings import SearchSettings
from qnas.nas.trainer import JobTrainer
from qnas.network.costs import Costs
from qnas.quant.scheme import Bits
from qnas.scores.predicted import Score
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.space.space import find_space
from qnas.training.jobs import Job
from qnas.work.ledger import Ledger, Result
from qnas.work.pool import Pool

SETTINGS = SearchSettings(Bits(4, 4), Limits(), trials=6)
Rows = list[dict[str, Any]]


def scored(channels: int, top1: float) -> Candidate:
    step = ((Branch(0, "conv", 3), Branch(1, "skip", 1)),)
    genotype = Genotype(3, 1, channels, 2, True, (), step, Bits(4, 4))
    return Candidate(genotype, Costs(100 * channels, 2000, 50, 60), Score(top1, 1.9, -0.3))


def leaders(told: list[Rows]) -> Leaders:
    return Leaders(told.append, SETTINGS, find_space("tiny"))


def test_the_longest_trained_come_first_then_the_best_scores() -> None:
    told: list[Rows] = []
    watched, networks = leaders(told), [scored(channels, 10.0 * channels) for channels in range(1, 8)]
    watched.note(networks)
    assert [row["score"] for row in told[-1]] == [70, 60, 50, 40, 30]
    assert len(told[-1]) == MOST
    watched.note([networks[0].after(12, 80.0), networks[1].after(12, 85.0), networks[2].after(144, 82.0)])
    watched.note([networks[6].after(12, "no memory")])
    assert [(row["score"], row["steps"], row["trained"]) for row in told[-1]] == [
        (30, 144, 82), (20, 12, 85), (10, 12, 80), (60, 0, None),
    ]  # fmt: skip
    assert told[-1][0] | {"params": 300, "macs": 2000, "weight_bytes": 50, "activation_bytes": 60} == told[-1][0]


def test_nobody_is_told_the_same_twice() -> None:
    told: list[Rows] = []
    watched = leaders(told)
    watched.note([scored(4, 50.0)])
    watched.note([scored(4, 50.0)])
    watched.note([])
    assert len(told) == 1


def by_channels(job: Job) -> Result:
    """An accuracy without any training."""
    return {"job": job.name, "top1": float(job.genotype.channels)}


def test_a_trainer_tells_what_each_network_reached(tmp_path: Path) -> None:
    told: list[Rows] = []
    trainer = JobTrainer(SETTINGS, Pool(by_channels, Ledger(tmp_path / "ledger")), "picks", leaders=leaders(told))
    trainer([scored(6, 30.0), scored(8, 20.0)], Rung("halve", 3))
    assert [[(row["trained"], row["score"]) for row in rows] for rows in told] == [[(6, 30)], [(8, 20), (6, 30)]]
