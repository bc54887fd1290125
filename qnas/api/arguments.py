"""From what callers may give to what the package works with."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qnas.checkpoints.store import Checkpoint, checkpoint_names
from qnas.data.images import DataSet, Images
from qnas.data.registry import SOURCES, Size, check_data, with_size
from qnas.errors import QnasError
from qnas.exporters.device_profiles import DeviceProfile, find_device
from qnas.network.build import Architecture, architecture_from_json
from qnas.network.handmade import HAND_MADE, HandMade
from qnas.quant.choices import USUAL, check_grid
from qnas.quant.scheme import Bits
from qnas.runs.reading import read_json
from qnas.scores.closed_form import is_at_home
from qnas.training.recipe import Recipe, read_recipe

PATH_LIKE = (str, Path)
AnyArchitecture = Architecture | Mapping[str, Any] | str | Path
"""A genotype or a hand-made network, what its ``to_json`` gives, a file of that, or the name of a hand-made one."""


def as_bits(bits: str | Bits) -> Bits:
    """Bit widths, from them or their text."""
    return bits if isinstance(bits, Bits) else Bits.parse(bits)


def as_whole(name: str, value: float) -> int:
    """A number such as 1e7, which may come as a float, as an integer."""
    if float(value).is_integer():
        return int(value)
    near = int(value) if 1 <= value < float("inf") else "1e7"
    raise QnasError(f"A budget is a whole number, got `{name}={value}`; give for example `{name}={near}`.")


def scored_images(data: DataSet, part: str, images: int) -> Images:
    """The first so many images of a part, to measure networks on; all of them where ``images`` is 0."""
    if images < 0:
        raise QnasError(f"`images` is 0 or more, got {images}; leave it out for all.")
    found = data.part(part)
    return found.first(images or len(found))


def as_recipe(recipe: Recipe | str | Path | None, steps: int) -> Recipe:
    """A recipe, from what names it, with another number of steps if one is given."""
    how = read_recipe(Path(recipe)) if isinstance(recipe, PATH_LIKE) else recipe or Recipe()
    return how.of(steps) if steps else how


def as_device(target: str | Path) -> DeviceProfile | None:
    """The device profile of a name or a path, if one is given.

    Raises:
        QnasError: there is none, or nothing writes its container, or runs that here.
    """
    if not str(target):
        return None
    from qnas.exporters.registry import check_runs, find_profile  # slow to import, and few verbs need it

    device = find_device(str(target))
    check_runs(find_profile(device.container))
    return device


def with_grid_of(recipe: Recipe, grid: str, device: DeviceProfile | None) -> Recipe:
    """The recipe on the grid that is asked for; else on its own, or where that is the usual one, on the device's.

    Raises:
        QnasError: there is no such grid.
    """
    if grid:
        check_grid(grid)
    usual = device.usual_grid if device and recipe.grid == USUAL else recipe.grid
    return replace(recipe, grid=grid or usual)


def check_lengths(**given: float) -> None:
    """Check that a run has one length at most, and no negative one.

    Raises:
        QnasError: it has others.
    """
    for name, value in given.items():
        if not 0 <= value < float("inf"):
            raise QnasError(f"`{name}` is above 0, got {value:g}; leave it out.")
    if sum(value > 0 for value in given.values()) > 1:
        told = ", ".join(f"{name} {value:g}" for name, value in given.items() if value)
        raise QnasError(f"A run has one length, `steps`, `epochs` or `minutes`, got {told}; give one of them.")


def of_epochs(recipe: Recipe, epochs: float, data: DataSet) -> Recipe:
    """The recipe with the length of so many passes over the training images."""
    return recipe.of(max(1, round(epochs * max(1, len(data.train) // recipe.batch))))


def as_architecture(network: AnyArchitecture, bits: str | Bits = "", width: int = 0) -> Architecture:
    """A network, from whatever says which, at these bit widths and of this width, or of its own."""
    if isinstance(network, str) and network in HAND_MADE:
        made: Architecture = HandMade(network)
    elif isinstance(network, PATH_LIKE):
        made = architecture_from_json(read_json(Path(network), "a genotype", "write one with `qnas.sample(count=1)`"))
    else:
        made = architecture_from_json(dict(network)) if isinstance(network, Mapping) else network
    if width:
        if not isinstance(made, HandMade):
            raise QnasError(f"`width` is of hand-made networks: {', '.join(HAND_MADE)}; leave it out for a genotype.")
        made = replace(made, width=width)
    return made.with_bits(as_bits(bits)) if bits else made


def chosen_data(data: str | Path, image: Size = "") -> str:
    """What data are called: a known name, or an absolute path, with the size that the images get, if one is given.

    ``auto`` stands for the last data set that lies on this machine and has a shipped checkpoint.
    """
    ready = [row.name for row in SOURCES.values() if row.name in checkpoint_names() and row.place is not None]
    known = with_size(ready[-1] if str(data) == "auto" else str(data), image)
    check_data(known)
    return known if known in SOURCES else str(Path(known).resolve())


def say_checkpoint(checkpoint: Checkpoint, data: DataSet) -> None:
    """Say so where a hypernetwork was trained for other data."""
    if not is_at_home(checkpoint, data):
        logging.getLogger("qnas").info(
            "The hypernetwork %s was trained on %s: it predicts all but the classifier, which is fitted to %s.",
            checkpoint.path.name, checkpoint.data, data.name,
        )  # fmt: skip


def say_data(known: str, asked: str | Path, data: DataSet) -> None:
    """Say what ``auto`` stood for, or how the images were read; once all arguments have been checked."""
    if str(asked) == "auto":
        logging.getLogger("qnas").info("Data: %s. For other images give their folder as `data`.", known)
    for remark in data.remarks:
        logging.getLogger("qnas").info("Data %s: %s", data.name, remark)
