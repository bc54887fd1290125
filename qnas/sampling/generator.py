"""Draws genotypes of a space: seeded, within its exact limits, never the same network twice, splits disjoint.

Every architecture belongs, by its hash, to one of two halves of the space that never mix: one in ``HELD_OUT_SHARE``
is held out for evaluation, the others train the hypernetwork. So an evaluated net is unseen whatever the seeds were.
"""

import random
from collections.abc import Iterator

from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.costs import count_parameters, macs
from qnas.quant.scheme import FP32, Bits
from qnas.space.cells import CELL_INPUTS, Branch, Cell, is_connected
from qnas.space.genotype import Genotype
from qnas.space.operations import OPERATIONS
from qnas.space.space import SearchSpace

HELD_OUT_SHARE = 4
MAX_REJECTIONS = 20_000
PARTS = ("train", "held_out", "all")


def check_part(part: str) -> None:
    """Check the name of a part.

    Raises:
        QnasError: it is unknown.
    """
    if part not in PARTS:
        raise QnasError(f"`part` of a space is {', '.join(PARTS)}, got {part!r}; give one of them.")


def is_held_out(genotype: Genotype) -> bool:
    """Whether a genotype's architecture is kept for evaluation."""
    return int(genotype.architecture, 16) % HELD_OUT_SHARE == 0


def draw(space: SearchSpace, rng: random.Random) -> Genotype:
    """One genotype of the space, its limits not yet looked at."""
    cells, steps = rng.randint(*space.cells), rng.randint(*space.steps)
    return Genotype(
        stem_kernel=rng.choice(space.stem_kernels),
        stem_stride=rng.choice(space.stem_strides),
        channels=rng.choice(space.channels),
        cells=cells,
        batch_norm=rng.random() < space.batch_norm,
        normal=_draw_cell(space, steps, rng),
        reduction=_draw_cell(space, steps, rng),
        projected=space.projected == 1 or (space.projected > 0 and rng.random() < space.projected),
    )


def _draw_cell(space: SearchSpace, steps: int, rng: random.Random) -> Cell:
    """Steps with a convolution somewhere, one of which reads the previous cell; none of them a skip alone."""
    least, most = space.branches
    while True:
        cell = tuple(
            tuple(
                _draw_branch(space, CELL_INPUTS + step, rng)
                for _ in range(least if least == most else rng.randint(least, most))
            )
            for step in range(steps)
        )
        learnable = any(OPERATIONS[branch.operation].learns for step in cell for branch in step)
        if learnable and is_connected(cell):
            return cell


def _draw_branch(space: SearchSpace, states: int, rng: random.Random) -> Branch:
    operation = OPERATIONS[rng.choice(space.operations)]
    state = rng.randrange(states)
    kernels = operation.kernels(space.kernels)
    return Branch(state, operation.name, rng.choice(kernels) if operation.kernel is None else kernels[0])


def stream(
    space: SearchSpace, seed: int, part: str = "all", bits: Bits = FP32, most_rejections: int = MAX_REJECTIONS
) -> Iterator[Genotype]:
    """Endless genotypes of one split: the same for the same seed, each network once.

    Args:
        space: of the split wanted (``SearchSpace.of_split``).
        seed: of the stream; every split and part has a stream of its own.
        part: one of ``PARTS``.
        bits: widths that every genotype carries.
        most_rejections: so many draws in a row that give no new network are the end.

    Raises:
        QnasError: the limits let so few networks through that none is found.
    """
    rng = random.Random(f"{seed}/{space.name}/{space.split}/{part}")
    seen: set[int] = set()
    rejected = 0

    def accepted(genotype: Genotype) -> bool:
        """The cheapest test first; only a network that passes all is remembered."""
        if count_parameters(genotype, space.task) > space.max_params:
            return False
        if part != "all" and (part == "held_out") != is_held_out(genotype):
            return False
        digest = int(genotype.architecture, 16)
        if digest in seen:
            return False
        if space.max_macs and macs(build_plan(genotype, space.task)) > space.max_macs:
            return False
        seen.add(digest)
        return True

    while True:
        genotype = draw(space, rng)
        if accepted(genotype):
            rejected = 0
            yield genotype.canonical() if bits.is_float else genotype.canonical().with_bits(bits)
        elif (rejected := rejected + 1) == most_rejections:
            raise QnasError(
                f"Space {space.name!r}, split {space.split!r}: no new network within its limits (max_params "
                f"{space.max_params}, max_macs {space.max_macs}) in {most_rejections} draws after {len(seen)} found; "
                "raise the limits or widen the choices."
            )
