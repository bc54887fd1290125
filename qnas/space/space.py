"""A search space: the choices a network is drawn from, read from a TOML file, with its splits.

``id`` is the split that training nets come from; ``deep``, ``wide`` and ``bn_free`` lie outside its distribution and
state in the file only what they change.
"""

import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qnas.digest import digest_of
from qnas.errors import QnasError, check_known, did_you_mean, shown
from qnas.resources import shipped
from qnas.runs.reading import read_toml
from qnas.space.cells import MOST_BRANCHES, MOST_CELLS, MOST_CHANNELS, MOST_KERNEL, MOST_STEPS, MOST_STRIDE
from qnas.space.genotype import FEWEST_CELLS, Genotype
from qnas.space.operations import OPERATIONS, learning
from qnas.space.splits import SPLITS
from qnas.task import Task


@dataclass(frozen=True)
class SearchSpace:
    """The choices of one space.

    Args:
        name: of the file, without its ending.
        operations: names out of ``OPERATIONS``.
        kernels: of the convolutions, odd.
        cells: fewest and most cells.
        steps: fewest and most steps of a cell.
        branches: fewest and most operations of a step, of at most two; two if the file does not say.
        channels: choices for the first cells.
        stem_kernels: choices for the first convolution, odd.
        stem_strides: choices for its stride.
        batch_norm: probability that a net has batch norms.
        projected: probability that the inputs of cells pass a 1 x 1 convolution; 1 if the file does not say.
        max_params: largest number of parameters, exact.
        max_macs: largest number of multiply-accumulates, exact; 0 for no limit.
        task: whose images and classes the limits are counted for; in the file ``image`` and ``classes``.
        split: which split this is.
        overrides: what each split changes, by its name.
        whole: the space before a split's changes; nothing if this is it.

    Raises:
        QnasError: a value is out of range.
    """

    name: str
    operations: tuple[str, ...]
    kernels: tuple[int, ...]
    cells: tuple[int, int]
    steps: tuple[int, int]
    channels: tuple[int, ...]
    stem_kernels: tuple[int, ...]
    stem_strides: tuple[int, ...]
    batch_norm: float
    max_params: int
    max_macs: int
    task: Task
    projected: float = 1.0
    branches: tuple[int, int] = (MOST_BRANCHES, MOST_BRANCHES)
    split: str = "id"
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    whole: "SearchSpace | None" = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for unknown in set(self.operations) - set(OPERATIONS):
            raise _bad(self.name, "operations", unknown, did_you_mean(unknown, OPERATIONS))
        for key in ("operations", "kernels", "channels", "stem_kernels", "stem_strides"):
            if not getattr(self, key):
                raise _bad(self.name, key, [], "give at least one choice.")
        if not set(self.operations) & set(learning()):
            raise _bad(self.name, "operations", list(self.operations), f"add one of {', '.join(learning())}.")
        for key in ("kernels", "stem_kernels"):
            if any(kernel < 1 or kernel % 2 == 0 for kernel in getattr(self, key)):
                raise _bad(self.name, key, list(getattr(self, key)), "use odd sizes such as 3, 5 and 7.")
            if max(getattr(self, key)) > MOST_KERNEL:
                raise _bad(self.name, key, list(getattr(self, key)), f"use sizes up to {MOST_KERNEL}.")
        for key in ("cells", "steps", "branches"):
            pair = getattr(self, key)
            if len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
                raise _bad(self.name, key, list(pair), "give the fewest and the most, such as [2, 4].")
        most = (self.cells[1] <= MOST_CELLS, self.steps[1] <= MOST_STEPS, self.branches[1] <= MOST_BRANCHES)
        if self.cells[0] < FEWEST_CELLS or not all(most):
            sizes = f"{FEWEST_CELLS} to {MOST_CELLS} cells, up to {MOST_STEPS} steps, up to {MOST_BRANCHES} branches"
            given = [*self.cells, *self.steps, *self.branches]
            raise _bad(self.name, "cells, steps or branches", given, f"use {sizes}.")
        for key in _PROBABILITIES:
            if not 0 <= getattr(self, key) <= 1:
                raise _bad(self.name, key, getattr(self, key), "give a probability from 0 to 1.")
        positive = (*self.channels, *self.stem_strides, self.max_params)
        if min(positive) < 1 or self.max_macs < 0:
            raise _bad(self.name, "channels, stem_strides or limits", positive, "use positive numbers.")
        if max(self.channels) > MOST_CHANNELS or max(self.stem_strides) > MOST_STRIDE:
            sizes = f"use up to {MOST_CHANNELS} channels and strides up to {MOST_STRIDE}."
            raise _bad(self.name, "channels or stem_strides", positive, sizes)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the space has."""
        return tuple(name for name in SPLITS if name == "id" or name in self.overrides)

    def of_split(self, split: str) -> "SearchSpace":
        """The space with what ``split`` changes.

        Raises:
            QnasError: no such split.
        """
        if split not in self.overrides and split != "id":
            known = {"id", *self.overrides}
            raise QnasError(f"Space {self.name!r} has no split {split!r}; {did_you_mean(split, known)}")
        whole = self.whole or self
        if split not in self.overrides:
            return whole
        return replace(whole, split=split, whole=whole, **self.overrides[split])

    def for_task(self, task: Task) -> "SearchSpace":
        """The space with its limits counted for another task."""
        return replace(self, task=task, whole=self.whole and self.whole.for_task(task))

    def to_json(self) -> dict[str, Any]:
        """The space as plain lists, numbers and strings: what tells it from all others."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("task", "whole")}
        image: dict[str, Any] = {"image": self.task.image, "classes": self.task.classes}
        for key in _OPTIONAL:
            if getattr(self, key) == getattr(SearchSpace, key):
                del plain[key]  # so that a space from before this key keeps its hash
        content: dict[str, Any] = json.loads(json.dumps({**plain, **image}))
        return content

    @cached_property
    def digest(self) -> str:
        """A hash of its canonical JSON."""
        return digest_of(self.to_json())

    def check(self, genotype: Genotype) -> None:
        """Check that this space's operations, kernels, channels and sizes can make ``genotype``.

        Raises:
            QnasError: with the first choice that lies outside.
        """
        cells = [cell for cell in (genotype.normal, genotype.reduction) if cell]
        branches = [branch for cell in cells for step in cell for branch in step]
        choices: list[tuple[str, Any, Any]] = [
            ("stem_kernels", genotype.stem_kernel, self.stem_kernels),
            ("stem_strides", genotype.stem_stride, self.stem_strides),
            ("channels", genotype.channels, self.channels),
            ("cells", genotype.cells, range(self.cells[0], self.cells[1] + 1)),
            ("projected", genotype.projected, {self.projected > 0, self.projected == 1}),
            *(("steps", len(cell), range(self.steps[0], self.steps[1] + 1)) for cell in cells),
            *(
                ("branches", len(step), range(self.branches[0], self.branches[1] + 1))
                for cell in cells
                for step in cell
            ),
            *(("operations", branch.operation, self.operations) for branch in branches),
            *(("kernels", one.kernel, OPERATIONS[one.operation].kernels(self.kernels)) for one in branches),
        ]
        for key, value, allowed in choices:
            if value not in allowed:
                raise QnasError(
                    f"Space {self.name!r} allows {key} {list(allowed)}, got {value!r}; take another `space`."
                )


def _bad(space: str, key: str, value: Any, remedy: str) -> QnasError:
    return QnasError(f"Search space {space!r}: {key} has an unusable value, {shown(value)}; {remedy}")


_TASK = ("image", "classes")
_OPTIONAL = ("projected", "branches")
_PROBABILITIES = ("batch_norm", "projected")
_KEYS = {item.name for item in fields(SearchSpace)} - {"name", "split", "overrides", "whole", "task"} | set(_TASK)
_LIST_OF_NUMBERS = ("kernels", "cells", "steps", "branches", "channels", "stem_kernels", "stem_strides", "image")


def _convert(space: str, key: str, value: Any) -> Any:
    """A TOML value as the field's type, or an error that names it."""
    if key not in _KEYS:
        raise QnasError(f"Search space {space!r}: unknown key {shown(key)}; {did_you_mean(key, _KEYS)}")
    if key == "operations":
        good, wanted = isinstance(value, list) and all(isinstance(item, str) for item in value), "a list of names"
    elif key in _LIST_OF_NUMBERS:
        good, wanted = isinstance(value, list) and all(type(item) is int for item in value), "a list of whole numbers"
    elif key in _PROBABILITIES:
        good, wanted = type(value) in (int, float), "a number"
    else:
        good, wanted = type(value) is int or (type(value) is float and value.is_integer()), "a whole number"
    if not good:
        raise QnasError(f"Search space {space!r}: {key} must be {wanted}, got {shown(value)}; correct it in the file.")
    return tuple(value) if isinstance(value, list) else (float(value) if key in _PROBABILITIES else int(value))


def read_space(path: Path) -> SearchSpace:
    """Read a space file.

    Raises:
        QnasError: the file is missing or no TOML, or has an unknown key, a wrong type or an unusable value.
    """
    data = read_toml(path, "a search space", "a search space is a TOML file; check the path, or copy a shipped one")
    splits = data.pop("splits", {})
    if not isinstance(splits, dict) or not all(isinstance(table, dict) for table in splits.values()):
        raise QnasError(f"Search space {path.stem!r}: splits must be tables such as [splits.deep]; correct the file.")
    for split in set(splits) - set(SPLITS):
        raise QnasError(f"Search space {path.stem!r}: unknown split {shown(split)}; {did_you_mean(split, SPLITS)}")
    values = {key: _convert(path.stem, key, value) for key, value in data.items()}
    for missing in sorted(_KEYS - set(values) - set(_OPTIONAL)):
        raise QnasError(f"Search space {path.stem!r}: {missing} is missing; copy it from a shipped space.")
    overrides = {
        split: {key: _convert(path.stem, key, value) for key, value in table.items()} for split, table in splits.items()
    }
    try:
        task = Task(values.pop("image"), values.pop("classes"))
    except QnasError as error:
        raise QnasError(f"Search space {path.stem!r}: {error}") from error
    space = SearchSpace(name=path.stem, task=task, overrides=overrides, **values)
    for split in overrides:
        space.of_split(split)
    return space.of_split("id")


def space_names() -> list[str]:
    """The names of the shipped spaces."""
    return sorted(path.stem for path in shipped("search_spaces").glob("*.toml"))


def find_space(name: str) -> SearchSpace:
    """A shipped space by its name, or a space file by its path.

    Raises:
        QnasError: there is none, or it cannot be used.
    """
    if name.endswith(".toml"):
        return read_space(Path(name))
    check_known("search space", name, space_names())
    return read_space(shipped("search_spaces") / f"{name}.toml")
