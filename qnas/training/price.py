"""What a training step of a network costs in time, from its plan alone, relative to other networks.

A search that is given minutes gives all full runs the same time, not the same steps: networks of equal
multiply-accumulates differ threefold in images a second. Timing each would let chance decide who gets how many steps,
so prices are counted, and only how long the usual network takes is measured, once.
"""

from math import prod

from qnas.network.plan import Plan

DENSE, DEPTHWISE = 140.0, 100.0
"""Microseconds of a million multiply-accumulates of an image, in training, by the kind of convolution."""
VALUE, POOLED = 0.010, 0.040
"""Microseconds of a value that a layer gives, and of one that a pool does."""
LAYER = 1000.0
"""Microseconds of a layer in a step, however many images it has.

All from 64 networks of the space ``fashion`` at W4A4 in batches of 64 and 128, one core of an AMD EPYC (AVX2), torch
2.13; the median error is 15 %, that of one network in ten more than 37 %.
"""


def price(plan: Plan, batch: int) -> float:
    """Roughly the microseconds that an image of a training step takes on one core, for batches of this size."""
    total = LAYER * len(plan.nodes) / batch
    for node in plan.nodes:
        values = prod(node.shape)
        total += values * (POOLED if node.kind in ("max_pool", "avg_pool") else VALUE)
        work = values * node.channels_in * node.kernel**2 / node.groups / 1e6
        total += work * (DENSE if node.groups == 1 else DEPTHWISE)
    return total
