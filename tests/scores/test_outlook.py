"""The outlook: its inputs, a law that it has to find, and tables that are there, missing or damaged."""

import gzip
import json
from itertools import islice
from math import exp, inf, log
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from scipy.integrate import quad

from qnas.checkpoints.store import checkpoint_names
from qnas.errors import QnasError
from qnas.graph.statistics import graph_statistics, reach
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.resources import shipped
from qnas.runs.reading import MOST_JSON, parse_rows, unzipped
from qnas.sampling.generator import stream
from qnas.scores.outlook import CURVES, HOPE, Outlook, find_curves, fitted, inputs, read_outlook, rows_of, upon, worth
from qnas.scores.race import Racer
from qnas.scores.ranks import kendall
from qnas.scores.surrogate import Floats, accuracy_of, log_odds
from qnas.space.genotype import Genotype
from qnas.space.space import find_space
from qnas.training.jobs import data_of, predictor_of

SPACE = find_space("fashion")
NETWORKS = list(islice(stream(SPACE, 0, bits=Bits(4, 4)), 80))
SEEN = [2_000.0 * 4 ** (place % 5) for place in range(len(NETWORKS))]


def law(genotype: Genotype, images: float) -> float:
    """An accuracy that grows with images and parameters."""
    return float(accuracy_of(3 - 60 / images**0.5 + 0.3 * log(costs(build_plan(genotype, SPACE.task)).params) - 3.5))


def written(folder: Path, networks: list[Genotype], seen: list[float]) -> Path:
    rows = [
        {"genotype": one.to_json(), "worth": images, "top1": law(one, images)}
        for one, images in zip(networks, seen, strict=True)
    ]
    (folder / CURVES).write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return folder / CURVES


def with_data(outlook: Outlook, rows: Floats, level: float) -> Floats:
    """What its process reads, where no score is known."""
    return np.column_stack([outlook.scaler.transform(rows[:, :-1]), np.zeros(len(rows)), np.full(len(rows), level)])


def test_inputs_are_what_is_known_before_training() -> None:
    plan = build_plan(NETWORKS[0].with_bits(Bits(2, 8)), SPACE.task)
    cost = costs(plan)
    sizes = [log(value) for value in (cost.params, cost.macs, cost.activation_bytes)]
    assert inputs(plan, 256) == pytest.approx([1 / 16, 1 / 4, *sizes, 1, 3, *graph_statistics(plan), *reach(plan)])
    assert inputs(build_plan(NETWORKS[0].with_bits(Bits(32, 32)), SPACE.task), 500)[5:7] == [3, 3]


@pytest.mark.parametrize("passes", [0.3, 1, 1.5, 20, 400])
def test_a_pass_is_worth_an_exponentially_smaller_one_than_those_before(passes: float) -> None:
    again, _ = quad(lambda done: exp(-done / 15.4), 0, max(0.0, passes - 1))
    assert worth(700 * passes, 700) == pytest.approx(700 * (min(passes, 1) + again))


def test_what_it_expects_follows_a_law_on_networks_that_it_has_not_seen(tmp_path: Path) -> None:
    outlook = read_outlook((written(tmp_path, NETWORKS[:60], SEEN[:60]),), SPACE.task)
    unseen, seen = NETWORKS[60:], SEEN[60:]
    plans = [build_plan(one, SPACE.task) for one in unseen]
    expected, true = (
        outlook.expected(rows_of(plans, seen)),
        [law(one, images) for one, images in zip(unseen, seen, strict=True)],
    )
    assert outlook.y.shape == (60,)
    assert kendall(expected, true) > 0.9
    assert fmean(abs(one - other) for one, other in zip(expected, true, strict=True)) < 2
    assert outlook.expected(rows_of([], [])) == []


def test_what_a_run_gave_changes_what_is_expected_of_its_network_most() -> None:
    outlook = read_outlook(find_curves(shipped("checkpoints") / "fashion", "fashion")[0], SPACE.task)
    plans = [build_plan(one, SPACE.task) for one in NETWORKS[60:]]
    short, long = (rows_of(plans, [images] * len(plans)) for images in (30_000, 300_000))
    before, reached = outlook.expected(long), outlook.expected(short)[0] - 5
    wiser = outlook.after(short[:1], [reached])
    changes = [after - was for after, was in zip(wiser.expected(long), before, strict=True)]
    assert changes[0] == min(changes)
    assert -5 < changes[0] < -1
    assert reached < wiser.expected(short)[0] < reached + 2.5  # more than half of the surprise, for there is noise
    rows = with_data(outlook, short, 0)
    before, later = (one.process.predict(rows, return_std=True)[1] for one in (outlook, wiser))
    noise = outlook.process.kernel_.k2.noise_level
    was, told, now = log_odds([outlook.expected(short)[0], reached, wiser.expected(short)[0]])
    assert now - was == pytest.approx((1 - noise / before[0] ** 2) * (told - was))  # of one run more at the same place
    assert later[0] / before[0] == min(later / before)
    assert later[0] < 0.95 * before[0]


def test_on_other_images_all_is_as_much_better_or_worse_as_its_own_runs_tell(tmp_path: Path) -> None:
    path = written(tmp_path, NETWORKS[:60], SEEN[:60])
    home, away = (read_outlook((path,), SPACE.task, elsewhere) for elsewhere in (False, True))
    plans = [build_plan(one, SPACE.task) for one in NETWORKS[60:]]
    short, long = (rows_of(plans, [images] * len(plans)) for images in (8_000, 32_000))
    assert away.expected(long) == home.expected(long)
    assert away.hoped(long) == home.hoped(long)

    def harder(images: float) -> list[float]:
        return [float(accuracy_of(log_odds(law(one, images)) - 1.5)) for one in NETWORKS[60:]]

    away, home = (one.after(short[:4], harder(8_000)[:4]) for one in (away, home))
    far, near = (
        fmean(abs(a - b) for a, b in zip(one.expected(long), harder(32_000), strict=True)) for one in (home, away)
    )
    assert near < 3 < 10 < far
    again = away.after(short[4:6], away.expected(short[4:6]))  # what was expected changes nothing but how sure it is
    assert again.expected(long) == pytest.approx(away.expected(long), abs=0.5)


def test_runs_of_ones_own_may_all_be_higher_and_tell_no_more_of_their_neighbours(tmp_path: Path) -> None:
    """As from predicted parameters, where a table's are from random ones: the order of the others stays."""
    outlook = read_outlook((written(tmp_path, NETWORKS[:60], SEEN[:60]),), SPACE.task)
    rows = rows_of([build_plan(one, SPACE.task) for one in NETWORKS[60:]], [32_000] * len(NETWORKS[60:]))
    true = np.array([float(accuracy_of(log_odds(law(one, 32_000)) + 1.0)) for one in NETWORKS[60:]])
    taken, own = (made(rows[:6], true[:6]) for made in (outlook.after, outlook.after_own))
    assert kendall(own.expected(rows[6:]), true[6:]) > kendall(taken.expected(rows[6:]), true[6:])
    wrong = [np.abs(np.array(one.expected(rows[6:])) - true[6:]).mean() for one in (taken, own)]
    assert wrong[1] < 2 < wrong[0]
    away = outlook.on_other_images()
    assert away.after_own(rows[:6], true[:6]).expected(rows) == away.after(rows[:6], true[:6]).expected(rows)


def test_other_images_may_favour_other_networks_and_a_few_runs_tell(tmp_path: Path) -> None:
    home = read_outlook((written(tmp_path, NETWORKS[:60], SEEN[:60]),), SPACE.task)
    rows = rows_of([build_plan(one, SPACE.task) for one in NETWORKS[40:]], [32_000] * 40)
    favoured = home.scaler.transform(rows[:, :-1])[:, 4]  # activation bytes
    true = [
        float(accuracy_of(log_odds(law(one, 32_000)) - 1 + more))
        for one, more in zip(NETWORKS[40:], favoured, strict=True)
    ]
    rigid, free = (home.on_other_images(own).after(rows[:12], true[:12]).expected(rows[12:]) for own in (0.0, 1.0))
    assert kendall(free, true[12:]) > kendall(rigid, true[12:]) + 0.1
    wrong = [fmean(abs(a - b) for a, b in zip(one, true[12:], strict=True)) for one in (rigid, free)]
    assert wrong[1] < 0.8 * wrong[0]


def test_what_is_imagined_of_other_images_is_drawn_by_its_seed(tmp_path: Path) -> None:
    away = read_outlook((written(tmp_path, NETWORKS[:60], SEEN[:60]),), SPACE.task, True)
    rows = rows_of([build_plan(one, SPACE.task) for one in NETWORKS], [32_000] * len(NETWORKS))
    first, again, other = (away.imagined(rows, seed) for seed in (1, 1, 2))
    assert first == again
    assert np.argmax(first) != np.argmax(other) or first != other
    assert len({int(np.argmax(away.imagined(rows, seed))) for seed in range(20)}) > 3


def test_hopes_and_what_is_known_follow_the_closed_form(tmp_path: Path) -> None:
    """Rasmussen and Williams (2006), equations 2.25 and 2.26, in plain linear algebra."""
    outlook = read_outlook((written(tmp_path, NETWORKS[:20], SEEN[:20]),), SPACE.task)
    plans, seen = [build_plan(one, SPACE.task) for one in NETWORKS[20:24]], SEEN[20:24]
    kernel, noise = outlook.process.kernel_.k1, outlook.process.kernel_.k2.noise_level
    known_odds = log_odds([law(one, images) for one, images in zip(NETWORKS[:20], SEEN[:20], strict=True)])
    mean, deviation, x = known_odds.mean(), known_odds.std(), with_data(outlook, rows_of(plans, seen), 0)
    known, across = kernel(outlook.x) + noise * np.eye(20), kernel(x, outlook.x)
    expected = mean + deviation * across @ np.linalg.solve(known, (known_odds - mean) / deviation)
    variance = kernel.diag(x) + noise - np.einsum("ij,ji->i", across, np.linalg.solve(known, across.T))
    hoped = accuracy_of(expected + HOPE * deviation * np.sqrt(variance))
    assert outlook.expected(rows_of(plans, seen)) == pytest.approx(accuracy_of(expected).tolist())
    assert outlook.hoped(rows_of(plans, seen)) == pytest.approx(hoped.tolist())


def test_more_images_are_expected_to_give_more_by_the_table_that_ships() -> None:
    outlook = read_outlook(find_curves(shipped("checkpoints") / "fashion", "fashion")[0], SPACE.task)
    plans = [build_plan(one, SPACE.task) for one in NETWORKS[:30]]
    few, many = (outlook.expected(rows_of(plans, [images] * 30)) for images in (30_000, 300_000))
    assert sum(more > less for more, less in zip(many, few, strict=True)) >= 28
    assert 60 < min(few) < max(many) < 98


def test_what_a_score_tells_beyond_the_other_inputs_is_expected() -> None:
    """Half of what makes these networks differ is seen by nothing but their scores, on a scale of their own."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=len(NETWORKS))
    true = [
        float(accuracy_of(log_odds(law(one, images)) + 0.5 * more))
        for one, images, more in zip(NETWORKS, SEEN, hidden, strict=True)
    ]
    plans, scores = [build_plan(one, SPACE.task) for one in NETWORKS], accuracy_of(0.3 * hidden - 1).tolist()
    told, blind = rows_of(plans, SEEN, scores), rows_of(plans, SEEN)
    outlook, without = fitted(told[:60], np.array(true[:60])), fitted(blind[:60], np.array(true[:60]))
    taus = [kendall(one.expected(rows[60:]), true[60:]) for one, rows in ((outlook, told), (without, blind))]
    assert taus[0] > taus[1] + 0.1
    other = rows_of(plans, SEEN, accuracy_of(0.3 * hidden + 1).tolist())  # another hypernetwork's scores
    assert outlook.used_to(other[60:]).expected(other[60:]) == pytest.approx(
        outlook.used_to(told[60:]).expected(told[60:])
    )
    assert without.used_to(told).expected(told) == without.expected(blind)
    mixed = upon(outlook, (other[:40], np.array(true[:40])))  # a table that has scores of its own
    assert kendall(mixed.expected(other[60:]), true[60:]) > taus[1] + 0.1
    assert mixed.surprise != outlook.surprise
    mean = fmean(outlook.expected(blind[60:]))
    assert mean == pytest.approx(fmean(outlook.expected(told[60:])), abs=2)


def test_a_table_stands_upon_the_one_before_it(tmp_path: Path) -> None:
    """Eight runs on harder images tell how much harder they are, and a third kind of images is like the second."""
    (tmp_path / "a").mkdir()
    usual = written(tmp_path / "a", NETWORKS[:60], SEEN[:60])
    rows = rows_of([build_plan(one, SPACE.task) for one in NETWORKS[60:]], SEEN[60:])
    harder = [float(accuracy_of(log_odds(law(one, n)) - 1.5)) for one, n in zip(NETWORKS[60:], SEEN[60:], strict=True)]
    few = [
        {"genotype": one.to_json(), "worth": n, "top1": y}
        for one, n, y in zip(NETWORKS[60:68], SEEN[60:68], harder[:8], strict=True)
    ]
    own = tmp_path / CURVES
    own.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in few).encode()))
    alone, stacked, third = (
        read_outlook(tables, SPACE.task, elsewhere)
        for tables, elsewhere in (((own,), False), ((usual, own), False), ((usual, own), True))
    )
    wrong = [
        fmean(abs(a - b) for a, b in zip(one.expected(rows[8:]), harder[8:], strict=True)) for one in (alone, stacked)
    ]
    assert wrong[1] < 3
    assert wrong[1] < 0.7 * wrong[0]
    assert (stacked.level, stacked.strange, third.level, third.strange) == (1, False, 2, True)
    assert third.expected(rows) == pytest.approx(stacked.expected(rows))
    even = third.after(rows[:4], accuracy_of(log_odds(harder[:4]) - 1)).expected(rows[8:])
    below = [float(accuracy_of(log_odds(value) - 1)) for value in harder[8:]]
    assert fmean(abs(a - b) for a, b in zip(even, below, strict=True)) < 3


def test_runs_of_networks_that_are_not_to_be_known_are_left_out(tmp_path: Path) -> None:
    """At whatever bit widths."""
    (tmp_path / "fewer").mkdir()
    whole, fewer = (
        written(folder, NETWORKS[first:60], SEEN[first:60])
        for folder, first in ((tmp_path, 0), (tmp_path / "fewer", 20))
    )
    hidden = frozenset(one.with_bits(Bits(8, 8)).architecture for one in NETWORKS[:20])
    rows = rows_of([build_plan(one, SPACE.task) for one in NETWORKS], SEEN)
    blind, expected = read_outlook((whole,), SPACE.task, without=hidden), read_outlook((fewer,), SPACE.task)
    assert blind.expected(rows) == expected.expected(rows)
    assert blind.expected(rows) != read_outlook((whole,), SPACE.task).expected(rows)


@pytest.mark.parametrize("name", checkpoint_names())
def test_every_checkpoint_has_a_table_or_takes_that_of_the_embedded_images(name: str) -> None:
    tables, data = find_curves(shipped("checkpoints") / name, name)
    assert all(path.is_file() for path in tables)
    assert tables[0].parent.name == "fashion"
    assert data == tables[-1].parent.name


@pytest.mark.slow
def test_the_embedded_images_table_has_the_scores_of_the_hypernetwork_beside_it() -> None:
    """A new checkpoint wants new scores: ``benchmarks/learning_curves.py --table``."""
    data = data_of("fashion", "cpu")
    (table,), _ = find_curves(shipped("checkpoints") / "fashion", "fashion")
    rows = parse_rows(unzipped(table, MOST_JSON))[0][::60]
    racer = Racer(SPACE.for_task(data.task), Bits(4, 4), data, predictor_of("fashion", "fashion", "cpu"), 0)
    plans = [build_plan(Genotype.from_json(row["genotype"]), data.task) for row in rows]
    assert [racer(plan, inf).score.top1 for plan in plans] == pytest.approx([row["score"] for row in rows], abs=1)


def test_a_table_beside_a_checkpoint_comes_upon_that_of_the_embedded_images(tmp_path: Path) -> None:
    (usual,), data = find_curves(tmp_path, "photos")
    assert usual.parent.name == data == "fashion"
    own = written(tmp_path, [], [])
    assert find_curves(tmp_path, "photos") == ((usual, own), "photos")
    assert find_curves(tmp_path, "fashion") == ((own,), "fashion")


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"{}\n", mtime=0), gzip.compress(b"[1]\n", mtime=0)]
)
def test_a_damaged_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CURVES).write_bytes(content)
    with pytest.raises(QnasError, match="cannot be read as a table of learning curves"):
        read_outlook((tmp_path / CURVES,), SPACE.task)
