"""Cells: steps of one operation or two, what a cell is built from, its JSON and its canonical form."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby, permutations, product
from typing import Any, NamedTuple

from qnas.errors import shown
from qnas.quant.scheme import Bits
from qnas.space.operations import Reshaping, find_operation

MOST_STEPS, MOST_BRANCHES, MOST_CELLS = 6, 2, 128
MOST_CHANNELS, MOST_KERNEL, MOST_STRIDE = 4096, 63, 8
"""Sizes above which a network is none that anybody trains."""
CELL_INPUTS = 2
PREVIOUS = 1
"""The state that holds the previous cell's output; some step must read it, so that every cell is connected."""


class Branch(NamedTuple):
    """One operation of a step: which state it reads, the operation's name, and its kernel size (1 for a skip).

    ``bits`` are its layers' widths in each cell of its kind, in order; empty where the whole network has one width.
    """

    state: int
    operation: str
    kernel: int
    bits: tuple[Bits, ...] = ()


Step = tuple[Branch, ...]
"""One or two; a skip is never alone."""
Cell = tuple[Step, ...]


class CellContext(NamedTuple):
    """What a cell is built from: its position, channels of its steps and of its two inputs, and their strides."""

    position: int
    reduction: bool
    channels: int
    input_channels: tuple[int, int]
    input_strides: tuple[int, int]

    def stride(self, state: int, projected: bool) -> int:
        """The stride of what reads a state."""
        if state >= CELL_INPUTS:
            return 1
        return (2 if self.reduction else 1) * (1 if projected else self.input_strides[state])

    def reshaping(self, state: int, projected: bool) -> Reshaping:
        """How an operation that reads a state has to change its shape."""
        widened = not projected and state < CELL_INPUTS and self.input_channels[state] != self.channels
        return Reshaping(self.stride(state, projected) > 1, widened)


def changed(cell: Cell, change: Callable[[Branch], Branch]) -> Cell:
    """A cell with each branch changed."""
    return tuple(tuple(map(change, step)) for step in cell)


def cell_json(cell: Cell) -> list[list[list[Any]]]:
    """A cell as plain lists; ``read_cell`` reads them back."""
    return [
        [[*branch[:3], *([[str(bits) for bits in branch.bits]] * bool(branch.bits))] for branch in step]
        for step in cell
    ]


def read_cell(steps: Any) -> Cell:
    """Read ``cell_json``; errors of Python's own kinds tell what is malformed."""
    _check_list("a cell's steps", steps, MOST_STEPS)
    for step in steps:
        _check_list("a step's operations", step, MOST_BRANCHES)
        for branch in step:
            _check_list("an operation's parts", branch, 4)
    return tuple(tuple(_read_branch(*branch) for branch in step) for step in steps)


def _check_list(what: str, value: Any, most: int) -> None:
    if not isinstance(value, list | tuple) or len(value) > most:
        raise TypeError(f"{what} are a list of {most} at most, got {shown(value)}")


def _read_branch(state: Any, name: Any, kernel: Any, bits: Any = ()) -> Branch:
    if type(state) is not int or type(kernel) is not int or type(name) is not str:
        raise TypeError(f"an operation is a state, a name and a kernel, got {shown([state, name, kernel])}")
    if not find_operation(name).allows(kernel) or kernel > MOST_KERNEL:
        raise ValueError(f"{name} cannot have kernel {kernel}")
    _check_list("an operation's widths", bits, MOST_CELLS)
    return Branch(state, name, kernel, tuple(Bits.parse(text) for text in bits))


def is_connected(cell: Cell) -> bool:
    """Whether a cell's steps make a network: they read earlier states, one the previous cell, and no skip is alone."""
    sizes = [len(step) - ([branch.operation for branch in step] == ["skip"]) for step in cell]
    if len(cell) > MOST_STEPS or not all(1 <= size <= MOST_BRANCHES for size in sizes):
        return False
    reads = [(branch.state, CELL_INPUTS + number) for number, step in enumerate(cell) for branch in step]
    return any(state == PREVIOUS for state, _ in reads) and all(0 <= state < before for state, before in reads)


def canonical_cell(cell: Cell) -> Cell:
    """The smallest relabelling among those that put the steps in the order of their structural keys.

    A step's structural key describes its whole tree of operations; only steps of equal keys need to be permuted.
    """
    keys: list[Any] = [(0, "0"), (0, "1")]
    for step in cell:
        below = sorted((branch.operation, branch.kernel, branch.bits, keys[branch.state]) for branch in step)
        keys.append((1 + max(keys[branch.state][0] for branch in step), repr(below)))
    order = sorted(range(CELL_INPUTS, len(keys)), key=keys.__getitem__)
    return min(_relabelled(cell, new_order) for new_order in _tie_orders(order, keys))


def _tie_orders(order: list[int], keys: list[Any]) -> Iterator[list[int]]:
    groups = [list(group) for _, group in groupby(order, key=keys.__getitem__)]
    for choice in product(*(permutations(group) for group in groups)):
        yield [state for group in choice for state in group]


def _relabelled(cell: Cell, order: list[int]) -> Cell:
    new = {0: 0, 1: 1} | {state: CELL_INPUTS + place for place, state in enumerate(order)}
    steps = (cell[state - CELL_INPUTS] for state in order)
    return tuple(_shared(tuple(sorted(branch._replace(state=new[branch.state]) for branch in step))) for step in steps)


@lru_cache(4096)
def _shared(step: Step) -> Step:
    """The same; equal steps of many networks are one object, so that they take little memory."""
    return step
