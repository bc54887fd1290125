"""What a run needs before it begins: data, space and hypernetwork by their names, checked against each other."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from qnas.checkpoints.store import Checkpoint, load_checkpoint
from qnas.data.images import DataSet
from qnas.data.registry import find_data
from qnas.digest import digest
from qnas.errors import QnasError
from qnas.exporters.device_profiles import DeviceProfile
from qnas.nas.budgets import check_possible, closed_form
from qnas.nas.samplers import EXPECTED, check_sampler
from qnas.nas.settings import SearchSettings
from qnas.runs.folder import open_run
from qnas.runs.identity import PLACE
from qnas.scores.outlook import Outlook, find_curves, outlook_beside
from qnas.space.space import SearchSpace, find_space


@dataclass(frozen=True)
class Prepared:
    """Data, space and checkpoint, loaded and checked against each other.

    ``identity`` tells one run from another: the settings, the images' fingerprint, and hashes of the space, of the
    checkpoint's weights and, where time is given, of the ``outlook``'s tables. ``familiar`` says whether the last of
    them has scores of this checkpoint on these images.
    """

    data: DataSet
    space: SearchSpace
    checkpoint: Checkpoint
    identity: dict[str, Any]
    outlook: Outlook | None = None
    familiar: bool = False


def prepare(settings: SearchSettings) -> Prepared:
    """Load what a search needs and check, before anything is spent, that its budgets can be kept.

    Raises:
        QnasError: data, space, checkpoint or sampler cannot be used, or no network keeps a budget.
    """
    check_sampler(settings.sampler)
    if settings.sampler == EXPECTED and not settings.minutes:
        raise QnasError(f"`sampler={EXPECTED!r}` goes by time, and none is given; add `minutes=10`.")
    prepared = load_named(settings.data, settings.space, settings.ghn, settings.identity(), settings.target)
    limits = replace(settings.limits.within(prepared.space), latency=0.0)  # which takes a run folder to measure
    model = closed_form(limits, settings.recipe.grid)
    check_possible(prepared.space, limits, settings.narrowest, settings.edges, model)
    return prepared


def load_named(
    data: str, space: str, ghn: str, identity: dict[str, Any], device: DeviceProfile | None = None
) -> Prepared:
    """Load a data set, a space and a checkpoint by their names, for a run of these settings.

    The space keeps those operations that the device computes, if there is one that does not compute all.

    Raises:
        QnasError: one of them cannot be used, or not with the others.
    """
    images = find_data(data)
    searched = find_space(space).for_task(images.task)
    if device and device.operations:
        left = tuple(one for one in searched.operations if one in device.operations)
        searched = replace(searched, operations=left)
    checkpoint = load_checkpoint(ghn)
    hashes: dict[str, Any] = {
        "images": images.fingerprint,
        "space_hash": searched.digest,
        "ghn_hash": checkpoint.weights_hash,
    }
    prepared = Prepared(images, searched, checkpoint, {**identity, **hashes})
    if not identity.get("minutes"):
        return prepared
    curves, _ = find_curves(checkpoint.path, checkpoint.data)
    seen = {**prepared.identity, "curves_hash": digest(b"".join(path.read_bytes() for path in curves))}
    outlook, familiar = outlook_beside(checkpoint.path, checkpoint.data, images.task)
    return replace(prepared, identity=seen, outlook=outlook, familiar=familiar)


def open_prepared(prepared: Prepared, folder: Path) -> None:
    """Make the run folder of what was prepared, or check that it belongs to it.

    Raises:
        QnasError: it is of other settings, or no run folder at all.
    """
    open_run(prepared.identity, folder, {"torch": torch.__version__})


def default_folder(settings: SearchSettings, prepared: Prepared) -> Path:
    """A folder named after the settings, so that the same command finds its run again.

    Planned steps do not count, nor where images lie.
    """
    planned = ("steps",) if settings.minutes else ()
    named = {key: value for key, value in prepared.identity.items() if key not in (*planned, PLACE)}
    short = digest(json.dumps(named, sort_keys=True).encode())[:8]
    return Path("runs") / f"{prepared.data.name}-{settings.bits}-{short}"
