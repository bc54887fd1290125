"""What the prices of training are fitted to: the time of a step of many networks.

    python benchmarks/prices.py --networks 60

Random networks of a space, spread evenly over the logarithm of their multiply-accumulates, and hand-made ones. Each is
timed on one thread; prices are those of the least relative errors that are not negative, and how good they are is said
for networks that they were not fitted to. Prints a line a network; what lies in the file is not done again. The last
line is JSON: the prices for ``qnas.training.price``, their error, and that of the ones that are there.
"""

from itertools import chain, islice
from pathlib import Path

import numpy as np
from common import finish, load, options, settle
from scipy.optimize import nnls
from sklearn.model_selection import KFold

import qnas
from qnas.network.build import Architecture, build_plan
from qnas.network.costs import macs
from qnas.network.handmade import HandMade
from qnas.runs.files import append_row, read_rows
from qnas.sampling.generator import stream
from qnas.training.price import PRICES, work
from qnas.training.recipe import Recipe
from qnas.training.run import seconds_a_step

BY_HAND = ["resnet8/8", "resnet8/14", "resnet8/16", "ds_cnn/18", "ds_cnn/24", "ds_cnn/32", "ds_cnn/64", "ds_cnn/128"]
BY_HAND += ["vgg_small/8", "vgg_small/16", "vgg_small/32"]
"""Wide ones among them, for convolutions of one pixel cost little elsewhere."""
FOLDS, POOL = 10, 20
"""Of the cross-validation; and networks that are drawn for each that is timed."""


def fitted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Prices, (kinds,), of work, (networks, kinds), that takes so many microseconds, (networks,)."""
    prices: np.ndarray = nnls(x / y[:, None], np.ones(len(y)))[0]
    return prices


def errors(x: np.ndarray, y: np.ndarray, prices: np.ndarray, known: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Relative errors of prices, (networks,), but for the factor that a search measures: that of those known."""
    ratio = x @ prices / y
    off: np.ndarray = np.abs(ratio / np.median(ratio[known]) - 1)
    return off


def main() -> None:
    """Time, fit, compare."""
    given = options(
        __doc__, data="fashion", space="fashion", bits="w4a4", networks=60, batch=(Recipe.batch, "images a step"),
        by_hand=(BY_HAND, "hand-made networks and their widths"), out=Path("runs/prices.jsonl"),
    )  # fmt: skip
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    data, space = load(given.data, given.space)
    bits = qnas.Bits.parse(given.bits)
    drawn = list(islice(stream(space, 0, bits=bits), POOL * given.networks))
    sizes = np.log([macs(build_plan(one, space.task)) for one in drawn])
    wanted = np.linspace(sizes.min(), sizes.max(), given.networks)
    spread = dict.fromkeys(int(np.abs(sizes - size).argmin()) for size in wanted)
    by_hand = (HandMade(name, int(width), bits) for name, width in (one.split("/") for one in given.by_hand))
    chosen: list[Architecture] = list(chain((drawn[place] for place in spread), by_hand))
    rows = {row["key"]: row for row in read_rows(given.out)}
    for architecture in chosen:
        if architecture.key not in rows:
            plan = build_plan(architecture, data.task)
            step = seconds_a_step(plan, data, Recipe(1, batch=given.batch), None)
            row = {"key": architecture.key, "macs": macs(plan), "microseconds": 1e6 * step / given.batch}
            rows[architecture.key] = row
            append_row(given.out, row)
            print(f"{architecture.key}: {row['macs'] / 1e6:.2f} M MACs, {row['microseconds']:.0f} us", flush=True)
    x = np.array([list(work(build_plan(one, data.task), given.batch).values()) for one in chosen])
    y, off = np.array([rows[one.key]["microseconds"] for one in chosen]), np.zeros(len(chosen))
    for others, mine in KFold(min(FOLDS, len(chosen)), shuffle=True, random_state=0).split(x):
        off[mine] = errors(x, y, fitted(x[others], y[others]), others)[mine]
    before = errors(x, y, np.array(list(PRICES.values())))
    finish(
        data=given.data, space=given.space, bits=given.bits, n=len(chosen),
        prices={kind: round(float(one), 1) for kind, one in zip(PRICES, fitted(x, y), strict=True)},
        median_error=float(np.median(off)), worst_tenth=float(np.quantile(off, 0.9)),
        median_error_before=float(np.median(before)), worst_tenth_before=float(np.quantile(before, 0.9)),
    )  # fmt: skip


if __name__ == "__main__":
    main()
