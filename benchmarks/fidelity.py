"""Are there networks of which a hypernetwork predicts other tensors than that of GHN-2's authors does?

    python benchmarks/fidelity.py --reference PATH --networks 4000

PATH is a checkout of facebookresearch/ppuda. Networks of all splits of the spaces, hand-made ones and corner cases of
cells go through both, with the same weights. Prints those that differ; the last line is JSON: how many were compared,
and the largest difference of any tensor, relative to its largest value.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path

import torch
from common import finish, options, settle
from ppuda_reference import Reference
from predict import difference

from qnas.ghn.config import GHN_2
from qnas.ghn.model import GHN
from qnas.network.build import Architecture, build_plan
from qnas.network.handmade import HAND_MADE, HandMade
from qnas.network.plan import Plan
from qnas.sampling.generator import stream
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.space.space import find_space
from qnas.task import Task

TASK, TOLERANCE = Task((3, 32, 32), 10), 1e-5
CELLS = {
    "two steps of one value": (
        ((Branch(0, "conv", 3), Branch(1, "conv", 5)),) * 1 + ((Branch(2, "skip", 1), Branch(2, "skip", 1)),)
    ),
    "a step twice": ((Branch(1, "sep_conv", 3), Branch(1, "sep_conv", 3)),),
    "nothing but pools and skips": ((Branch(0, "skip", 1), Branch(1, "max_pool", 3)),),
    "the same pool twice": ((Branch(1, "max_pool", 3), Branch(1, "max_pool", 3)),),
    "a chain": ((Branch(1, "conv", 3),), (Branch(2, "dil_conv", 5),), (Branch(3, "mb_conv3", 3),)),
    "loose ends": ((Branch(0, "conv", 1),), (Branch(1, "conv", 1),), (Branch(0, "avg_pool", 3),)),
}
CONV = ((Branch(1, "conv", 3),),)


def corners() -> Iterator[Genotype]:
    """Networks of odd cells, with and without batch norm and input projections."""
    for cell in CELLS.values():
        for normal, reduction in ((cell, CONV), (CONV, cell), (cell, cell)):
            for batch_norm in (True, False):
                for projected in (True, False):
                    yield Genotype(3, 1, 16, 4, batch_norm, normal, reduction, projected=projected)


def drawn(spaces: list[str]) -> Iterator[tuple[Architecture, str]]:
    """Networks of all splits of the spaces by turns, without end."""
    streams = [
        (stream(find_space(name).of_split(split), 0), name)
        for name in spaces
        for split in ("id", *find_space(name).overrides)
    ]
    for source, name in cycle(streams):
        yield next(source), name


def main() -> None:
    """Compare."""
    given = options(
        __doc__, reference=Path, networks=4000, virtual_edges=50,
        spaces=["mobile", "mobile-small", "fashion", "cifar", "tiny"],
    )  # fmt: skip
    settle()
    ghn = GHN(replace(GHN_2, virtual_edges=given.virtual_edges)).eval()
    theirs, worst, different, count, refused = Reference(given.reference, ghn), 0.0, 0, 0, 0
    odd: list[Architecture] = [*corners(), *(HandMade(name) for name in HAND_MADE)]
    for architecture, name in chain(((one, "cifar") for one in odd), islice(drawn(given.spaces), given.networks)):
        plan = build_plan(architecture, TASK)
        try:
            found = compared(theirs, ghn, plan)
        except RuntimeError:  # their decoder knows only some numbers of channels
            refused += 1
            continue
        worst, count = max(worst, found), count + 1
        if found > TOLERANCE:
            different += 1
            print(f"{found:.1e}", name, architecture.to_json(), flush=True)
    finish(
        networks=count,
        refused_by_theirs=refused,
        different=different,
        largest_difference=worst,
        virtual_edges=given.virtual_edges,
    )


def compared(theirs: Reference, ghn: GHN, plan: Plan) -> float:
    """The largest difference of any tensor of a network."""
    network = theirs.network(plan)
    theirs.predict(network, theirs.graph(network))
    with torch.no_grad():
        return difference(theirs, network, ghn([plan])[0])


if __name__ == "__main__":
    main()
