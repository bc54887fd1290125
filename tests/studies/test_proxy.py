"""Scores against made-up truths: what is known to be good or bad must come out so, and labels must not leak."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qnas.data.registry import find_data
from qnas.digest import digest
from qnas.errors import QnasError
from qnas.resources import shipped
from qnas.runs.reading import MOST_JSON, parse_rows, unzipped
from qnas.scores.outlook import POWERS, find_curves, worth
from qnas.scores.ranks import kendall
from qnas.space.genotype import Genotype
from qnas.studies import proxy
from qnas.studies.benchmark_table import BenchmarkTable, Run
from qnas.studies.proxy import AZ, Learned, ProxyRow, az_nas, evaluate_proxy, learned_of_others, lengths_of
from qnas.studies.settings import STARTS
from qnas.task import Task
from qnas.training.recipe import Recipe

COUNT, STEPS = 60, 24  # of the made-up table
TASK = Task((1, 8, 8), 10, "digits")


@pytest.fixture(scope="module", autouse=True)
def _few_trees_and_splits() -> Iterator[None]:
    """A forest of few trees, planted for few choices of labels, tells the same and sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proxy, "TREES", 5)
        patch.setattr(proxy, "SPLITS", 8)
        yield


@pytest.fixture(scope="module")
def rows(made_up_table: BenchmarkTable) -> list[ProxyRow]:
    return evaluate_proxy(made_up_table, TASK, "random", labels=20).rows


def test_scores_stand_where_they_were_made_to(rows: list[ProxyRow]) -> None:
    four, two = rows
    assert (four.bits, two.bits) == ("w4a4", "w2a2")
    assert four.scores["predicted"].tau > 0.8 > 0.3 > abs(two.scores["predicted"].tau)
    assert four.scores["calibrated"].tau > 0.8
    for row in rows:
        assert row.scores["epoch_from_random"].tau > 0.8
        assert row.scores["snip"].tau < -0.8
        assert abs(row.scores["random"].tau) < 0.3
        assert row.ceiling is not None
        assert row.ceiling > 0.8


def test_a_score_that_needs_no_labels_is_judged_on_the_same_networks(
    made_up_table: BenchmarkTable, rows: list[ProxyRow]
) -> None:
    entries = made_up_table.entries[:COUNT]
    whole = kendall(
        [one.costs.params for one in entries], [np.mean([r.test for r in one.of("random", STEPS)]) for one in entries]
    )
    found = rows[0].scores["params"]
    assert found.n == COUNT - 20
    assert found.tau == pytest.approx(whole, abs=0.06)


def test_labelled_networks_are_never_judged(made_up_table: BenchmarkTable) -> None:
    class Memory:
        """Knows the labelled networks and nothing else."""

        def fit(self, known: NDArray[Any], measured: NDArray[Any]) -> "Memory":
            self.seen = {tuple(row): value for row, value in zip(known, measured, strict=True)}
            return self

        def predict(self, known: NDArray[Any]) -> NDArray[Any]:
            return np.array([self.seen.get(tuple(row), 0.0) for row in known])

    found = evaluate_proxy(made_up_table, TASK, "random", labels=20, estimate=lambda known: Memory())
    for row in found.rows:
        assert row.scores["calibrated"].tau == row.scores["graph_regression"].tau == 0


def test_az_nas_sums_logarithms_of_relative_ranks(made_up_table: BenchmarkTable) -> None:
    worst_and_best, middling = [1.0, 3.0, 2.0], [10.0, 30.0, 20.0]
    assert az_nas(worst_and_best, middling) == pytest.approx(2 * np.log([1 / 3, 1, 2 / 3]))
    once_last, even = az_nas([1, 4, 2, 3], [4, 1, 3, 2])[[0, 3]]
    assert once_last < even  # 1 and 4 of 4 against 3 and 2
    truth = [entry.of("random", STEPS)[0].test for entry in made_up_table.entries]
    known = [
        replace(entry, signals={**entry.signals, **dict.fromkeys(AZ, value)})
        for entry, value in zip(made_up_table.entries, truth, strict=True)
    ]
    (row, _) = evaluate_proxy(replace(made_up_table, entries=tuple(known)), TASK, "random", labels=20).rows
    assert row.scores["az_nas"].tau > 0.5
    assert row.scores["forest"].tau > 0.7  # it is given the truth among the proxies
    assert "az_nas" not in evaluate_proxy(made_up_table, TASK, "random", labels=20).rows[0].scores


def test_the_truth_is_that_of_the_start_asked_for(made_up_table: BenchmarkTable) -> None:
    for start in ("random", "predicted"):
        (row, _) = evaluate_proxy(made_up_table, TASK, start, labels=20).rows
        expected = [np.mean([run.test for run in entry.of(start, STEPS)]) for entry in made_up_table.entries[:COUNT]]
        assert row.points["truth"] == pytest.approx(expected)


def test_runs_of_some_epochs_may_be_the_truth_for_those_networks_that_have_them(made_up_table: BenchmarkTable) -> None:
    long = made_up_table.epoch * 2
    entries = [
        replace(entry, runs=(*entry.runs, Run("random", 0, long, 10.0, float(place), 1.0))) if place % 2 else entry
        for place, entry in enumerate(made_up_table.entries)
    ]
    table = replace(made_up_table, entries=tuple(entries))
    (row, other) = evaluate_proxy(table, TASK, "random", labels=10, epochs=2).rows
    assert row.n == other.n == COUNT // 2
    assert row.points["truth"] == [float(place) for place in range(1, COUNT, 2)]
    assert row.ceiling is None
    with pytest.raises(QnasError, match="`labels` is 10 of 0"):
        evaluate_proxy(table, TASK, "predicted", labels=10, epochs=2)
    parts = replace(table, settings={"data": "digits"})  # a table of parts has no full runs
    assert lengths_of(parts) == (table.epoch, table.epoch)
    assert lengths_of(parts, 0.5) == (round(table.epoch / 2),) * 2
    assert lengths_of(table, 2) == (long, table.epoch)


def test_early_losses_are_scores_where_the_table_has_them(made_up_table: BenchmarkTable) -> None:
    def known(run: Run) -> Run:
        early, late = 3 - run.test / 50, run.test  # what was lost late is no good sign here, and must not be seen
        return replace(run, losses=(early, early, *[late] * 8))

    entries = [replace(one, runs=tuple(map(known, one.runs))) for one in made_up_table.entries]
    (row, _) = evaluate_proxy(replace(made_up_table, entries=tuple(entries)), TASK, "random", labels=20).rows
    assert row.scores["losses_fifth"].tau > 0.8
    assert row.scores["losses_half"].tau < -0.8
    guess = Noted(np.empty((0, 0)))  # scores, which at W4A4 are as good as the early losses
    table = replace(made_up_table, entries=tuple(entries))
    (row, blind) = evaluate_proxy(table, TASK, "random", labels=20, learned=Learned(guess)).rows  # type: ignore[arg-type]
    assert row.scores["outlook_and_losses"].tau > max(row.scores["predicted"].tau, row.scores["losses_fifth"].tau)
    assert blind.scores["outlook_and_losses"].tau > 0.6 > 0.3 > abs(blind.scores["outlook_unlabelled"].tau)
    some = (replace(entries[0], runs=made_up_table.entries[0].runs), *entries[1:])
    (row, _) = evaluate_proxy(replace(made_up_table, entries=some), TASK, "random", labels=20).rows
    assert "losses_fifth" not in row.scores


@pytest.mark.parametrize("start", STARTS)
def test_an_epoch_is_a_score_for_longer_runs_and_for_other_starts_not_for_itself(
    made_up_table: BenchmarkTable, start: str
) -> None:
    (short, _), (long, _) = (
        evaluate_proxy(made_up_table, TASK, start, labels=20, epochs=epochs).rows for epochs in (1, 24 / 17)
    )
    for origin in STARTS:
        assert (f"epoch_from_{origin}" in short.scores) == (origin != start)
        assert long.scores[f"epoch_from_{origin}"].tau > 0.8


@dataclass
class Noted:
    """An outlook that expects what it was told of a network, and else its score; it notes what it heard."""

    told: NDArray[Any]
    heard: list[NDArray[Any]] = field(default_factory=list)
    asked: list[NDArray[Any]] = field(default_factory=list)

    def after_own(self, rows: NDArray[Any], accuracies: NDArray[Any]) -> "Noted":
        self.heard.append(rows)
        return Noted(np.column_stack([rows, accuracies]), self.heard, self.asked)

    def expected(self, rows: NDArray[Any]) -> list[float]:
        self.asked.append(rows)
        known = {tuple(row[len(POWERS) : -1]): row[-1] for row in self.told}
        return [known.get(tuple(row[len(POWERS) :]), row[-1]) for row in rows]


def test_an_outlook_is_told_of_the_labelled_networks_alone(made_up_table: BenchmarkTable) -> None:
    batch, long = 50, 2 * made_up_table.epoch
    entries = tuple(
        replace(one, runs=(*one.runs, *(replace(run, steps=long) for run in one.of("random", STEPS))))
        for one in made_up_table.entries
    )
    settings = {"data": "digits", "recipe": {**Recipe(1).ingredients, "batch": batch}}
    noted = Noted(np.empty((0, 0)))
    table = replace(made_up_table, entries=entries, settings=settings)
    (row, _) = evaluate_proxy(table, TASK, "random", labels=20, epochs=2, learned=Learned(noted)).rows  # type: ignore[arg-type]
    twice = worth(batch * long, batch * table.epoch)
    assert batch * table.epoch < twice < batch * long
    assert row.scores["outlook"].n == row.scores["outlook_unlabelled"].n == COUNT - 20
    assert row.scores["outlook"].tau == pytest.approx(row.scores["predicted"].tau)  # what is judged had no label
    assert row.scores["outlook_unlabelled"].tau == pytest.approx(row.scores["predicted"].tau)
    assert {tuple(rows[:, 0]) for rows in noted.asked} == {(twice ** POWERS[0],) * COUNT}
    assert {tuple(rows[:, 0]) for rows in noted.heard} == {((batch * table.epoch) ** POWERS[0],) * 20}
    assert "outlook" not in evaluate_proxy(table, TASK, "random", labels=20, epochs=2).rows[0].scores
    assert not {"outlook", "outlook_unlabelled"} & row.to_json()["baselines"].keys()


def test_an_outlook_of_others_knows_no_network_of_the_table(made_up_table: BenchmarkTable) -> None:
    (curves,), _ = find_curves(shipped("checkpoints") / "fashion", "fashion")
    known = [Genotype.from_json(row["genotype"]) for row in parse_rows(unzipped(curves, MOST_JSON))[0]]
    task = find_data("fashion").task
    entries = tuple(replace(made_up_table.entries[0], genotype=one) for one in known[:5])
    whole, without = (
        learned_of_others(replace(made_up_table, entries=some), task).outlook
        for some in (made_up_table.entries, entries)
    )
    hidden = sum(one.architecture in {other.architecture for other in known[:5]} for one in known)
    assert len(whole.y) == len(known)
    assert len(without.y) == len(known) - hidden


def test_scores_of_another_hypernetwork_are_no_surprise_in_the_middle(made_up_table: BenchmarkTable) -> None:
    weights = (shipped("checkpoints") / "fashion" / "ghn.safetensors").read_bytes()
    task = find_data("fashion").task
    own, other = (
        learned_of_others(replace(made_up_table, settings={"ghn_hash": one}), task) for one in (digest(weights), "1234")
    )
    assert (own.familiar, other.familiar) == (True, False)
    assert not learned_of_others(made_up_table, replace(task, data="photos")).familiar
    assert learned_of_others(made_up_table, replace(task, data="photos")).outlook.strange


def test_the_same_seed_gives_the_same_row(made_up_table: BenchmarkTable, rows: list[ProxyRow]) -> None:
    assert evaluate_proxy(made_up_table, TASK, "random", labels=20).rows == rows
    assert evaluate_proxy(made_up_table, TASK, "random", labels=20, seed=1).rows != rows


def test_a_row_is_printed_with_the_calibrated_score_first(rows: list[ProxyRow]) -> None:
    printed = rows[0].to_json()
    assert {"bits", "n", "labels", "tau", "tau_low", "tau_high", "rho", "ceiling", "predicted"} <= printed.keys()
    assert (printed["n"], printed["labels"]) == (COUNT, 20)
    assert printed["tau"] == rows[0].scores["calibrated"].tau
    needed = {
        "params",
        "macs",
        "random",
        "graph_regression",
        "forest",
        "epoch_from_random",
        "epoch_from_predicted",
        "snip",
    }
    assert printed["baselines"].keys() >= needed
    assert "calibrated" not in printed["baselines"]


@pytest.mark.parametrize("labels", [0, 2, COUNT - 9, COUNT])
def test_a_number_of_labels_that_leaves_nothing_to_judge_is_refused(made_up_table: BenchmarkTable, labels: int) -> None:
    with pytest.raises(QnasError, match=f"`labels` is {labels}"):
        evaluate_proxy(made_up_table, TASK, "random", labels)
