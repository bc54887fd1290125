"""What a training step of a network costs in time, from its plan alone, relative to other networks.

A search that is given minutes gives all full runs the same time, not the same steps: networks of equal
multiply-accumulates differ threefold in images a second. Timing each would let chance decide who gets how many steps,
so prices are counted, and only how long the usual network takes is measured, once.
"""

from math import prod

from qnas.network.plan import Plan

SPATIAL, POINTWISE, DEPTHWISE = 205.0, 20.0, 650.0
"""Microseconds of a million multiply-accumulates of an image, in training: of dense convolutions of more than one
pixel, of one pixel, which their values outweigh, and of depthwise ones."""
VALUE = 0.0085
"""Microseconds of a value that a node gives."""
NODE = 880.0
"""Microseconds of a node in a step, however many images it has.

All from the processor time of the 81 runs of ``benchmarks/results/curves-fashion.jsonl``, one core of an AMD EPYC
(AVX2), torch 2.13. Of networks that they are not fitted to, the median error is 10 %, that of one in ten more than
25 %; chains of plain convolutions cost 7 % more than other networks of their price.
"""


def price(plan: Plan, batch: int) -> float:
    """Roughly the microseconds that an image of a training step takes on one core, for batches of this size."""
    total = NODE * len(plan.nodes) / batch
    for node in plan.nodes:
        values = prod(node.shape)
        total += VALUE * values
        work = values * node.channels_in * node.kernel**2 / node.groups / 1e6
        total += work * (DEPTHWISE if node.groups > 1 else SPATIAL if node.kernel > 1 else POINTWISE)
    return total
