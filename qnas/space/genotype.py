"""A genotype: one architecture with its bit widths, immutable, hashable and written as JSON.

A network is a stem, a row of cells and a classifier (DARTS: Liu et al., 2019). A cell has two input states, the
outputs of the cell before the previous one (state 0) and of the previous one (state 1). Each step adds a state: an
operation on an earlier state, or the sum of two. Reduction cells halve the resolution and double the channels; all
normal cells are alike, and so are all reduction cells.

In DARTS every input first passes a 1 x 1 convolution that gives it the cell's channels, and a cell's output is the
concatenation of all its steps. A genotype may leave those convolutions out: then the operations give the channels
themselves, and only steps that no other step reads are put together (Zoph et al., 2018). Chains such as VGG and
residual networks such as ResNet are among such networks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import compress
from typing import Any

from qnas.digest import digest_of
from qnas.errors import QnasError, shown
from qnas.quant.scheme import FP32, Bits, widest
from qnas.space.cells import (
    CELL_INPUTS,
    MOST_CELLS,
    MOST_CHANNELS,
    MOST_KERNEL,
    MOST_STEPS,
    MOST_STRIDE,
    PREVIOUS,
    Branch,
    Cell,
    CellContext,
    canonical_cell,
    cell_json,
    changed,
    is_connected,
    read_cell,
)  # fmt: skip
from qnas.space.operations import OPERATIONS

FEWEST_CELLS = 2


@dataclass(frozen=True)
class Genotype:
    """One architecture.

    Args:
        stem_kernel: kernel size of the first convolution.
        stem_stride: its stride.
        channels: of the stem and of the first cells' steps.
        cells: how many.
        batch_norm: whether each convolution is followed by a batch norm, instead of having a bias.
        normal: steps of the normal cells; empty if there is none.
        reduction: steps of the reduction cells.
        bits: widths of weights and activations; the widest ones where layers have widths of their own.
        layer_bits: of the stem, of each cell's input layers, and of the classifier, where branches have widths of their
            own too; else empty. What has no weights is as wide as the widest that it reads.
        projected: whether inputs pass a 1 x 1 convolution.

    Raises:
        QnasError: a cell is empty that is used, is not connected to the previous cell, or a branch reads a later state;
            or some layers have widths of their own and others have not.
    """

    stem_kernel: int
    stem_stride: int
    channels: int
    cells: int
    batch_norm: bool
    normal: Cell
    reduction: Cell
    bits: Bits = FP32
    layer_bits: tuple[Bits, ...] = ()
    projected: bool = True

    def __post_init__(self) -> None:
        if not (FEWEST_CELLS <= self.cells <= MOST_CELLS and 1 <= self.channels <= MOST_CHANNELS):
            raise QnasError(
                f"A genotype has {FEWEST_CELLS} to {MOST_CELLS} cells and 1 to {MOST_CHANNELS} channels, got "
                f"{self.cells} and {self.channels}; draw a valid one with `qnas.sample(count=1)`."
            )
        kernel, stride = self.stem_kernel, self.stem_stride
        if not (1 <= kernel <= MOST_KERNEL and kernel % 2 == 1 and 1 <= stride <= MOST_STRIDE):
            raise QnasError(
                f"A stem has an odd kernel up to {MOST_KERNEL} and a stride of 1 to {MOST_STRIDE}, got {kernel} and "
                f"{stride}; use a kernel such as 3."
            )
        for name, cell in (("reduction", self.reduction), ("normal", self.normal)):
            if (name == "reduction" or self.has_normal_cells) and not is_connected(cell):
                raise QnasError(
                    f"The {name} cell has 1 to {MOST_STEPS} steps of an operation or two that read earlier states, one "
                    f"state {PREVIOUS}, and no skip alone, got {shown(cell)}; draw one with `qnas.sample(count=1)`."
                )
        if self.layer_bits or any(branch.bits for _, _, branch in self._branches()):
            self._check_widths()

    def _check_widths(self) -> None:
        counts = [len(self.layer_bits), *(len(branch.bits) for _, _, branch in self._branches())]
        wanted = [self.cells + 2, *(len(self.positions(reduction)) for reduction, _, _ in self._branches())]
        if any(bits.is_float for bits in self.layer_bits) or any(
            bits.is_float for _, _, branch in self._branches() for bits in branch.bits
        ):
            raise QnasError("Layers of widths of their own are all quantized, got fp32; write w8a8 for the widest.")
        if counts != (wanted if self.is_mixed else [0] * len(wanted)):
            raise QnasError(
                f"Either all layers have bit widths of their own or none has, got {shown(counts)} where "
                f"{shown(wanted)} or none were due; search for such networks with `qnas.search(mixed=True)`."
            )

    def _branches(self) -> Iterator[tuple[bool, int, Branch]]:
        """Every branch, with whether it is a reduction cell's and its step."""
        for reduction, cell in ((False, self.normal), (True, self.reduction)):
            yield from ((reduction, number, branch) for number, step in enumerate(cell) for branch in step)

    def positions(self, reduction: bool) -> list[int]:
        """Where the reduction cells, or the normal ones, stand."""
        return [position for position in range(self.cells) if (position in self.reductions) == reduction]

    @property
    def is_mixed(self) -> bool:
        """Whether layers have widths of their own."""
        return bool(self.layer_bits)

    def branch_bits(self, branch: Branch, position: int) -> Bits:
        """Widths of a branch's layers in the cell at ``position``."""
        if not branch.bits:
            return self.bits
        return branch.bits[self.positions(position in self.reductions).index(position)]

    def outer_bits(self, place: int) -> Bits:
        """Widths of the stem (0), of the input layers of the cell at ``place - 1``, and of the classifier (-1)."""
        return self.layer_bits[place] if self.layer_bits else self.bits

    @property
    def reductions(self) -> frozenset[int]:
        """The positions of the reduction cells."""
        return reductions_of(self.cells)

    @property
    def has_normal_cells(self) -> bool:
        """Whether any cell is not a reduction cell."""
        return self.cells > len(self.reductions)

    def cell(self, position: int) -> Cell:
        """The steps of the cell at ``position``."""
        return self.reduction if position in self.reductions else self.normal

    def ends(self, position: int) -> list[int]:
        """The steps of the cell at ``position``, by number, whose concatenation is its output."""
        cell = self.cell(position)
        read = {branch.state - CELL_INPUTS for step in cell for branch in step if not self.projected}
        return [number for number in range(len(cell)) if number not in read]

    @property
    def contexts(self) -> list[CellContext]:
        """The cells from the stem to the classifier."""
        contexts = []
        channels = before = previous = self.channels
        stride = 1
        for position in range(self.cells):
            reduction = position in self.reductions
            channels *= 2 if reduction else 1
            contexts.append(CellContext(position, reduction, channels, (before, previous), (stride, 1)))
            before, previous = previous, channels * len(self.ends(position))
            stride = 2 if reduction else 1
        return contexts

    def projections(self, context: CellContext) -> list[int]:
        """The inputs of a cell that pass a 1 x 1 convolution: those that its steps read, or none."""
        read = {branch.state for step in self.cell(context.position) for branch in step}
        return [state for state in range(CELL_INPUTS) if state in read and self.projected]

    def canonical(self) -> "Genotype":
        """The form shared by all genotypes of the same network: branches and steps in a fixed order, nothing unused."""
        return self._canonical

    @cached_property
    def _canonical(self) -> "Genotype":
        form = self if self.has_normal_cells or not self.normal else replace(self, normal=())
        if self.is_mixed:
            form = form._with_used_bits()
        form = replace(form, normal=canonical_cell(form.normal), reduction=canonical_cell(form.reduction))
        form.__dict__["_canonical"] = form  # it is its own
        return form

    def _with_used_bits(self) -> "Genotype":
        """The same network with the widest widths where no layer has them; of one width if all have the same."""
        outer = [True, *[self.projected] * self.cells, True]
        used = set(compress(self.layer_bits, outer))
        for reduction, _, branch in self._branches():
            used.update(compress(branch.bits, self._layers_of(branch, reduction)))
        most = widest(used)
        if len(used) == 1:
            return self.with_bits(most)

        def marked(reduction: bool) -> Callable[[Branch], Branch]:
            return lambda one: one._replace(bits=_where(self._layers_of(one, reduction), one.bits, most))

        normal, reduced = changed(self.normal, marked(False)), changed(self.reduction, marked(True))
        layer_bits = _where(outer, self.layer_bits, most)
        return replace(self, normal=normal, reduction=reduced, bits=most, layer_bits=layer_bits)

    def _layers_of(self, branch: Branch, reduction: bool) -> list[bool]:
        """Whether a branch has weights, in each cell of its kind."""
        contexts = self.contexts
        operation, cells = OPERATIONS[branch.operation], [contexts[place] for place in self.positions(reduction)]
        return [operation.has_weights(cell.reshaping(branch.state, self.projected)) for cell in cells]

    def with_bits(self, bits: Bits) -> "Genotype":
        """The same architecture with one pair of bit widths for all layers."""
        if not self.is_mixed:
            return replace(self, bits=bits)
        normal, reduction = (changed(cell, lambda one: one._replace(bits=())) for cell in (self.normal, self.reduction))
        return replace(self, normal=normal, reduction=reduction, bits=bits, layer_bits=())

    def with_drawn_bits(self, draw: Callable[[], Bits]) -> "Genotype":
        """The same architecture with widths of its own for every layer, each from a call of ``draw``."""
        form = self.with_bits(self.bits).canonical()

        def own(reduction: bool) -> Callable[[Branch], Branch]:
            return lambda one: one._replace(bits=tuple(draw() for _ in form.positions(reduction)))

        normal, reduced = changed(form.normal, own(False)), changed(form.reduction, own(True))
        outer = tuple(draw() for _ in range(form.cells + 2))
        return replace(form, normal=normal, reduction=reduced, layer_bits=outer).canonical()

    def with_edges(self, weights: int) -> "Genotype":
        """The same network with at least so many bits for the weights of its first and of its last layer."""
        form = self.canonical()
        if form.bits.is_float:
            return form
        first, *inner, last = form.layer_bits or (form.bits,) * (form.cells + 2)
        outer = (first.with_weights(weights), *inner, last.with_weights(weights))
        if form.is_mixed:
            return replace(form, layer_bits=outer).canonical()

        def own(reduction: bool) -> Callable[[Branch], Branch]:
            return lambda one: one._replace(bits=(form.bits,) * len(form.positions(reduction)))

        normal, reduced = changed(form.normal, own(False)), changed(form.reduction, own(True))
        return replace(form, normal=normal, reduction=reduced, layer_bits=outer).canonical()

    @cached_property
    def architecture(self) -> str:
        """Hash of the canonical architecture without its bit widths, 16 hexadecimal digits."""
        form = self.with_bits(self.bits) if self.is_mixed else self
        return digest_of(form.canonical()._architecture_json())

    @cached_property
    def key(self) -> str:
        """Hash of the canonical architecture and its bit widths: equal networks have equal keys."""
        form = self.canonical()
        return f"{self.architecture}-{f'mixed-{digest_of(form.to_json())}' if form.is_mixed else form.bits}"

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings; ``from_json`` reads them back."""
        widths = {"widths": [str(bits) for bits in self.layer_bits]} if self.is_mixed else {}
        return {**self._architecture_json(), "bits": str(self.bits), **widths}

    def _architecture_json(self) -> dict[str, Any]:
        return {
            "stem": [self.stem_kernel, self.stem_stride],
            "channels": self.channels,
            "cells": self.cells,
            "batch_norm": self.batch_norm,
            **({} if self.projected else {"projected": False}),
            "normal": cell_json(self.normal),
            "reduction": cell_json(self.reduction),
        }

    @classmethod
    def from_json(cls, data: Any) -> "Genotype":
        """Read what ``to_json`` wrote.

        Raises:
            QnasError: a field is missing, unknown or malformed.
        """
        try:
            if unknown := sorted(set(data) - _FIELDS):
                raise ValueError(f"unknown key {shown(unknown[0])}")
            stem_kernel, stem_stride = data["stem"]
            normal, reduction = (read_cell(data[name]) for name in ("normal", "reduction"))
            numbers = (stem_kernel, stem_stride, data["channels"], data["cells"])
            batch_norm, projected = data["batch_norm"], data.get("projected", True)
            if type(data["bits"]) is not str:
                raise TypeError(f"bits are a text like w4a4, got {shown(data['bits'])}")
            if any(type(number) is not int for number in numbers) or not type(batch_norm) is type(projected) is bool:
                raise TypeError("stem, channels and cells are whole numbers, batch_norm and projected true or false")
            if len(data.get("widths", ())) > MOST_CELLS + 2:
                raise ValueError(f"widths of {len(data['widths'])} layers are too many")
            widths = tuple(Bits.parse(text) for text in data.get("widths", ()))
            return cls(*numbers, batch_norm, normal, reduction, Bits.parse(data["bits"]), widths, projected)
        except QnasError as error:
            raise QnasError(f"A genotype cannot be read: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise QnasError(
                "A genotype has the fields stem, channels, cells, batch_norm, normal, reduction and bits, got "
                f"{shown(data, 30)} ({reason}); draw one with `qnas.sample(count=1)`."
            ) from error


_FIELDS = {
    "stem", "channels", "cells", "batch_norm", "projected", "normal", "reduction", "bits", "widths",
}  # fmt: skip


def _where(there: list[bool], bits: tuple[Bits, ...], otherwise: Bits) -> tuple[Bits, ...]:
    """The bits of the layers that are there, and others for those that are not."""
    return tuple(one if layer else otherwise for one, layer in zip(bits, there, strict=True))


@cache
def reductions_of(cells: int) -> frozenset[int]:
    """The positions of the reduction cells among so many, at one and two thirds of the depth (Knyazev et al., 2021)."""
    return frozenset({cells // 3, 2 * cells // 3})
