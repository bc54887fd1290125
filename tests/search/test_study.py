"""Proposals of a study that is broken off, at any point, and reopened held against those of an unbroken one."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import Trial

from qnas.errors import QnasError
from qnas.evaluation.signals import PredictedScore
from qnas.search.study import SAMPLERS, Proposer, check_sampler

CHOICES: dict[str, tuple[Any, ...]] = {
    "a": (1, 2, 3),
    "b": ("conv 3", "skip 1"),
    "c": (True, False),
    "d": (8, 16, 24, 32),
    "e": (0, 1),
}
EVERY = pytest.mark.parametrize("sampler", SAMPLERS)
TRIALS = 46
ENOUGH = 24  # into the second generation of NSGA-II, and past the 10 random trials that TPE begins with


def opened(path: Path, sampler: str, seed: int = 0) -> Proposer:
    return Proposer(path / "trials", sampler, seed, CHOICES)


def score(genes: dict[str, Any]) -> tuple[PredictedScore, float]:
    """Something to climb, and a budget that a third of the genes exceed."""
    value = 10 * genes["a"] + genes["d"] * genes["e"] + (5 if genes["b"] == "skip 1" else 0) + genes["c"]
    return PredictedScore(value, 100 - value, value / 100), (genes["d"] * genes["a"] - 48) / 48


def go_on(proposer: Proposer, trials: int) -> list[tuple[int, dict[str, Any]]]:
    """Number and genes of some more trials."""
    seen = []
    for _ in range(trials):
        trial, genes = proposer.ask()
        seen.append((trial.number, genes))
        proposer.tell(trial, *score(genes))
    return seen


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """What each sampler proposes when nothing happens."""
    return {name: go_on(opened(tmp_path_factory.mktemp(name), name), TRIALS) for name in SAMPLERS}


Unbroken = dict[str, list[tuple[int, dict[str, Any]]]]


@EVERY
def test_trials_are_numbered_and_have_every_gene(unbroken: Unbroken, sampler: str) -> None:
    assert [number for number, _ in unbroken[sampler]] == list(range(TRIALS))
    for _, genes in unbroken[sampler]:
        assert genes.keys() == CHOICES.keys()
        assert all(genes[name] in choices for name, choices in CHOICES.items())


@EVERY
def test_proposals_differ_from_one_another_and_between_seeds(tmp_path: Path, unbroken: Unbroken, sampler: str) -> None:
    assert len({tuple(genes.values()) for _, genes in unbroken[sampler]}) > TRIALS / 4
    assert go_on(opened(tmp_path, sampler, seed=1), 10) != unbroken[sampler][:10]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "evolution"])
def test_samplers_that_learn_climb(unbroken: Unbroken, sampler: str) -> None:
    values = [score(genes)[0].top1 for _, genes in unbroken[sampler]]
    assert sum(values[-15:]) > sum(values[:10]) * 1.5


@EVERY
@pytest.mark.parametrize("before", [1, 13, 21])
def test_a_reopened_study_goes_on_as_if_unbroken(tmp_path: Path, unbroken: Unbroken, sampler: str, before: int) -> None:
    found = go_on(opened(tmp_path, sampler), before) + go_on(opened(tmp_path, sampler), ENOUGH - before)
    assert found == unbroken[sampler][:ENOUGH]


@EVERY
def test_a_study_reopened_before_every_trial_goes_on_as_if_unbroken(
    tmp_path: Path, unbroken: Unbroken, sampler: str
) -> None:
    found = [trial for _ in range(ENOUGH) for trial in go_on(opened(tmp_path, sampler), 1)]
    assert found == unbroken[sampler][:ENOUGH]


@EVERY
@pytest.mark.parametrize("before", [0, 22])
def test_a_trial_that_was_asked_but_not_told_is_taken_up_again(
    tmp_path: Path, unbroken: Unbroken, sampler: str, before: int
) -> None:
    proposer = opened(tmp_path, sampler)
    found = go_on(proposer, before)
    proposer.ask()
    assert found + go_on(opened(tmp_path, sampler), ENOUGH - before) == unbroken[sampler][:ENOUGH]


@EVERY
@pytest.mark.parametrize("before", [0, 22])
@pytest.mark.parametrize("suggested", [0, 1])
def test_a_trial_that_was_broken_off_among_its_genes_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: Unbroken, sampler: str, before: int, suggested: int
) -> None:
    proposer = opened(tmp_path, sampler)
    found = go_on(proposer, before)
    left, original = [suggested], Trial.suggest_categorical

    def break_off(self: Trial, name: str, choices: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(self, name, choices)

    with monkeypatch.context() as patch:
        patch.setattr(Trial, "suggest_categorical", break_off)
        with pytest.raises(KeyboardInterrupt):
            proposer.ask()
    assert found + go_on(opened(tmp_path, sampler), ENOUGH - before) == unbroken[sampler][:ENOUGH]


@pytest.mark.parametrize("cut", [1, 60])
def test_a_log_whose_end_was_cut_off_by_a_kill_can_be_continued(tmp_path: Path, unbroken: Unbroken, cut: int) -> None:
    go_on(opened(tmp_path, "random"), 5)
    log = tmp_path / "trials"
    log.write_bytes(log.read_bytes()[:-cut])
    told = len(list(opened(tmp_path, "random").finished()))
    assert told in (4, 5)
    assert go_on(opened(tmp_path, "random"), 8 - told) == unbroken["random"][told:8]
    assert len(list(opened(tmp_path, "random").finished())) == 8


@EVERY
def test_told_trials_are_remembered_in_order(tmp_path: Path, unbroken: Unbroken, sampler: str) -> None:
    go_on(opened(tmp_path, sampler), 5)
    finished = list(opened(tmp_path, sampler).finished())
    assert finished == [(genes, score(genes)[0]) for _, genes in unbroken[sampler][:5]]


def test_infeasible_trials_are_not_the_best(tmp_path: Path) -> None:
    proposer = opened(tmp_path, "random")
    go_on(proposer, 30)
    best = proposer.study.best_trial
    feasible = [value.top1 for genes, value in proposer.finished() if score(genes)[1] <= 0]
    assert best.value == max(feasible)


@pytest.mark.parametrize("name", ["bayes", "", "TPE"])
def test_an_unknown_sampler_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(QnasError, match=f"No sampler is called {name!r}"):
        check_sampler(name)
    with pytest.raises(QnasError, match=f"No sampler is called {name!r}"):
        opened(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_close_sampler_is_suggested() -> None:
    with pytest.raises(QnasError, match="did you mean 'nsga2'"):
        check_sampler("nsga3")


def test_every_listed_sampler_proposes(tmp_path: Path) -> None:
    for name in SAMPLERS:
        (tmp_path / name).mkdir()
        assert len(go_on(opened(tmp_path / name, name), 2)) == 2
