"""How many short and full runs should a search of given minutes make, and on how many cores each?

    python benchmarks/plans.py --data cifar10 --space cifar --ghn cifar10 --budgets weight_bytes=65536,macs=3e6

Asked of an outlook: it is drawn what the most promising networks of the budget may truly reach, by what the outlook
believes, and a search goes much as it does: short runs in turn of whom most is expected and hoped, full ones of whom
most is expected then, the better of those by what it measured; scores are left out. All plans take equal time on two
cores, but for the one of three full runs, which would need three. ``steps`` are those of a full run in its time, one
core's being 1. A line a plan: mean true accuracy of what is handed over, and its standard error over the draws. The
last line is JSON.
"""

from itertools import islice

import numpy as np
from common import budget_of, finish, images_in, load, options, random_networks, settle

import qnas
from qnas.checkpoints.store import find_checkpoint
from qnas.nas.planning import FULL_SHARE
from qnas.nas.settings import SHORT
from qnas.network.build import build_plan
from qnas.network.plan import Plan
from qnas.scores.outlook import Outlook, find_curves, read_outlook, rows_of, worth
from qnas.scores.surrogate import Floats

PLANS = (
    *((short, full, 1.0) for short, full in ((8, 2), (8, 1), (8, 3), (4, 2))),
    *((short, 1, 1.5) for short in (12, 8, 6, 4, 2)),
)
"""Short runs, full runs, steps of a full run."""
PROMISING, ELSE = 40, 0.12
"""Networks by what is expected, and as many by what is hoped; and the share of the time that goes to neither runs."""


def noise(outlook: Outlook) -> float:
    """Variance of what a run alone has, in scaled log-odds."""
    return next(v for k, v in outlook.process.kernel_.get_params().items() if k.endswith("noise_level"))


def rows_in(seconds: float, plans: list[Plan], distinct: int) -> Floats:
    """What an outlook is told of networks that are trained for so many seconds on so many images."""
    return rows_of(plans, [worth(images_in(seconds, plan), distinct) for plan in plans])


class Belief:
    """What an outlook believes of short and full runs of some networks, jointly.

    Args:
        outlook: that believes.
        plans: of the networks.
        short: seconds of a short run, in steps of one core.
        full: seconds of a full run, likewise.
        distinct: how many training images there are.
    """

    def __init__(self, outlook: Outlook, plans: list[Plan], short: float, full: float, distinct: int) -> None:
        rows = np.vstack([rows_in(spent, plans, distinct) for spent in (short, full)])
        self.noise, self.count = noise(outlook), len(plans)
        self.mean, cov = outlook.process.predict(outlook._asked(rows), return_cov=True)
        self.cov = cov - self.noise * np.eye(len(cov))
        self.root = np.linalg.cholesky(self.cov + 1e-6 * np.eye(len(cov)))

    def weights(self, runs: list[int]) -> Floats:
        """What results of some runs add to what is expected of all, (runs, 2 networks)."""
        there = self.cov[np.ix_(runs, runs)] + self.noise * np.eye(len(runs))
        solved: Floats = np.linalg.solve(there, self.cov[runs])
        return solved

    def short_runs(self, count: int) -> list[int]:
        """The networks that get a short run."""
        chosen: list[int] = []
        for place in range(count):
            known = np.einsum("ij,ij->j", self.cov[chosen], self.weights(chosen)) if chosen else 0
            spread = np.sqrt(np.maximum(np.diag(self.cov) - known, 0))[self.count :]
            value = self.mean[self.count :] + (spread if place % 2 else 0)
            value[chosen] = -np.inf
            chosen.append(int(value.argmax()))
        return chosen

    def handed_over(self, chosen: list[int], full_runs: int, rng: np.random.Generator) -> float:
        """What a drawn search hands over, in scaled log-odds."""
        true = self.mean + self.root @ rng.normal(size=2 * self.count)
        seen = true[chosen] + self.noise**0.5 * rng.normal(size=len(chosen))
        wiser = self.mean + self.weights(chosen).T @ (seen - self.mean[chosen])
        picks = sorted((self.count + one for one in chosen), key=lambda place: -wiser[place])[:full_runs]
        measured = true[picks] + self.noise**0.5 * rng.normal(size=len(picks))
        return float(true[picks[int(measured.argmax())]])


def main() -> None:
    """Draw searches by every plan."""
    given = options(
        __doc__, data="fashion", space="fashion", ghn="fashion", bits="w4a4", budgets="weight_bytes=32768,macs=3e6",
        minutes=(10.0, "of the search"), networks=2000, draws=(400, "searches a plan"),
    )  # fmt: skip
    settle()
    data, space = load(given.data, given.space)
    outlook = read_outlook(find_curves(find_checkpoint(given.ghn), given.data)[0], space.task)
    drawn = random_networks(space, budget_of(given.budgets), qnas.Bits.parse(given.bits), 0)
    plans = [build_plan(one, space.task) for one in islice(drawn, given.networks)]
    usual = rows_in(FULL_SHARE * 60 * given.minutes, plans, len(data.train))
    ranked = (np.argsort(outlook.expected(usual))[::-1], np.argsort(outlook.hoped(usual))[::-1])
    promising = [plans[place] for place in dict.fromkeys(np.concatenate([one[:PROMISING] for one in ranked]).tolist())]
    found = []
    for short_runs, full_runs, steps in PLANS:
        full = (1 - ELSE) * 60 * given.minutes * steps / (1 + short_runs * steps / 2 / SHORT)
        belief, rng = Belief(outlook, promising, full / SHORT, full, len(data.train)), np.random.default_rng(0)
        chosen = belief.short_runs(short_runs)
        reached = outlook._accuracies(
            np.array([belief.handed_over(chosen, full_runs, rng) for _ in range(given.draws)])
        )
        facts = {"short_runs": short_runs, "full_runs": full_runs, "steps": steps, "mean": float(np.mean(reached))}
        facts["standard_error"] = float(np.std(reached) / given.draws**0.5)
        found.append(facts)
        print(*(round(value, 2) for value in facts.values()), flush=True)
    finish(data=given.data, bits=given.bits, budgets=given.budgets, promising=len(promising), plans=found)


if __name__ == "__main__":
    main()
