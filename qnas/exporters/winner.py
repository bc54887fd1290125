"""Writes a trained network as a folder that holds all a user needs: weights, model, genotype, manifest, guides.

The manifest says how images are prepared, what was measured, and what every file hashes to, but for the guides, which
people may change (``qnas.exporters.card``).
"""

import logging
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

import qnas
from qnas.data.images import DataSet
from qnas.data.pixels import preparation
from qnas.errors import QnasError
from qnas.exporters.card import guides, prepared
from qnas.exporters.device_profiles import DeviceProfile
from qnas.exporters.drawing import DRAWING, as_svg
from qnas.exporters.manifest import (
    GENOTYPE,
    KIND,
    MANIFEST,
    REMEDY,
    WEIGHTS,
    grids_in,
    hash_of,
    read_manifest,
    take_back,
)
from qnas.exporters.parity import Parity
from qnas.exporters.registry import MODEL, Files, Profile, check_runs, find_profile, input_of
from qnas.network.build import Architecture, architecture_from_json, build_plan
from qnas.network.costs import Costs
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.grids import Grids
from qnas.network.initial import he_parameters
from qnas.network.memory import costs_in_c
from qnas.network.module import Network
from qnas.runs.files import write_bytes, write_json, write_tensors
from qnas.runs.reading import check_shapes, not_finite, read_json, read_tensors, reading
from qnas.scores.accuracy import by_class, confusion
from qnas.task import Task

log = logging.getLogger("qnas")
SLOTS = "slots."
"""With what the names of a network's parameters begin in its state."""
PLAINEST = "safetensors"
"""The profile that holds the integers themselves."""


class Winner(Network):
    """A trained network with all that is known of it: a module that can be fine-tuned, and exported again.

    Its batch norms are frozen to their moving averages, as they are deployed. It is in evaluation mode: call
    ``train()`` to fine-tune it, as of any module; only then do gradients pass through rounding.

    Args:
        genotype: of the network; or the hand-made one that it is.
        task: that it was trained for.
        state: trained parameters, averages and steps.
        facts: settings and accuracies, as the manifest has them.
        folder: where it lies.
        grids: of its numbers.
    """

    def __init__(
        self,
        genotype: Architecture,
        task: Task,
        state: dict[str, Tensor],
        facts: dict[str, Any],
        folder: Path,
        grids: Grids,
    ) -> None:
        plan = build_plan(genotype, task)
        super().__init__(plan, he_parameters(plan, torch.Generator()), (0.0, 0.0), grids)
        self.restored(state)
        self.genotype, self.task, self.facts, self.folder = genotype, task, facts, folder

    @property
    def costs(self) -> Costs:
        """Parameters, multiply-accumulates and bytes; what C code takes."""
        return costs_in_c(self.plan, self.grids.name)

    @property
    def parity(self) -> dict[str, Any]:
        """How the exported file compares with torch (``qnas.exporters.parity.Parity``)."""
        comparison: dict[str, Any] = read_manifest(self.folder)["parity"]
        return comparison

    @property
    def device(self) -> DeviceProfile | None:
        """The device that it was made for, if it was for one."""
        values = read_manifest(self.folder).get("device")
        with reading(self.folder / MANIFEST, KIND, REMEDY):
            return DeviceProfile.from_json(values) if values else None

    @property
    def accuracies(self) -> dict[str, Any]:
        """Top-1 in per cent: of predicted parameters, estimated, trained, and on the test images, where known."""
        known: dict[str, Any] = self.facts["accuracy"]
        return known


def load_winner(folder: Path) -> Winner:
    """Read a winner's folder.

    Raises:
        QnasError: there is none, or a file is not what its hash says.
    """
    manifest, remedy = read_manifest(folder), REMEDY
    genotype = architecture_from_json(read_json(folder / GENOTYPE, "a genotype", remedy))
    with reading(folder / MANIFEST, KIND, remedy):
        images = manifest["images"]
        names = tuple(images["classes"])
        mean, deviation = (tuple(images[key]) for key in ("mean", "deviation"))
        highest = images.get("highest", Task.highest)
        task = Task(tuple(images["shape"]), len(names), images["data"], names, mean, deviation, highest)
    with reading(folder / WEIGHTS, "trained weights", remedy):
        grids = grids_in(manifest)
        state, _ = read_tensors(folder / WEIGHTS)
        slots = {name: value for name, value in state.items() if name.startswith(SLOTS)}
        found = {name: value.shape for name, value in slots.items()}
        check_shapes(found, {f"{SLOTS}{slot.name}": slot.shape for slot in build_plan(genotype, task).slots})
        if bad := not_finite(state):
            raise ValueError(f"its tensor {bad[0]} has values that are no numbers")
        return Winner(genotype, task, state, manifest["facts"], folder, grids)


def write_winner(
    folder: Path,
    genotype: Architecture,
    network: Network,
    data: DataSet,
    facts: dict[str, Any],
    profile: str = "compact",
    device: DeviceProfile | None = None,
    uint8_input: bool = False,
    or_plain: bool = False,
) -> Parity:
    """Compare what is exported with torch on the validation images, and write everything.

    What an earlier export has left in the folder goes.

    Args:
        folder: to write to.
        genotype: of the network; or the hand-made one that it is.
        network: trained and frozen.
        data: it was trained on.
        facts: settings and accuracies for the manifest.
        profile: one of ``qnas.exporters.registry.PROFILES``.
        device: that is to hold what is exported.
        uint8_input: whether the model takes 8-bit pixels, which it normalises itself.
        or_plain: export as ``safetensors`` what is not the network that was trained as ``profile``, so that it is not
            lost; its manifest has the reason under ``failed``.

    Raises:
        QnasError: no such profile, or one that cannot hold the network or whose package is missing, or a device that
            cannot hold it, or what is exported is not the network that was trained; then nothing is written.
    """
    written = find_profile(profile)
    deployed, pixels = deploy(network), uint8_input or written.pixels
    files, parity = _exported(written, deployed, data, pixels, device)
    if failed := parity.failure:
        failed = f"as {profile} {failed}"
        if not or_plain or profile == PLAINEST:
            raise QnasError(
                f"What is exported is the network that was trained, but {failed}; export it as `profile={PLAINEST!r}`."
            )
        log.warning("Exported as %s instead: %s.", PLAINEST, failed)
        written, device = find_profile(PLAINEST), None
        files, parity = _exported(written, deployed, data, pixels, device)
    table = confusion(deployed, data.validation, data.task.classes)
    take_back(folder)
    write_tensors(folder / WEIGHTS, network.state_dict())
    for name, content in files.items():
        write_bytes(folder / name, content)
    write_json(folder / GENOTYPE, genotype.to_json())
    manifest = {
        "facts": facts,
        "costs": asdict(costs_in_c(network.plan, network.grids.name)),
        "grid": asdict(network.grids),
        "parity": parity.to_json(),
        **({"failed": failed} if failed else {}),
        "validation": {"confusion": table, **by_class(table)},
        "images": images_of(data, pixels),
        "profile": written.name,
        "model": written.file,
        "device": device and device.to_json(),
        **({"onnx_bytes": len(files[MODEL])} if MODEL in files else {}),
        "model_bytes": len(files[written.file]),
        "sha256": {name: hash_of(folder / name) for name in (WEIGHTS, *files, GENOTYPE)},
        "versions": {
            "qnas": qnas.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "python": platform.python_version(),
        },
    }
    drawn = as_svg(network.plan, f"{data.name}, {facts['settings']['bits']}")
    for_people = {**guides(manifest), DRAWING: drawn.encode()}
    for name, content in for_people.items():
        write_bytes(folder / name, content)
    write_json(folder / MANIFEST, {**manifest, "guides": list(for_people)})
    return parity


def _exported(
    profile: Profile, network: DeployedNetwork, data: DataSet, pixels: bool, device: DeviceProfile | None
) -> tuple[Files, Parity]:
    """The files of a network, which the device holds, and how they compare with torch."""
    files = profile.write(network, data.task, pixels)
    if device:
        device.check_fit(profile.memory(files))
    check_runs(profile)
    return files, profile.compare(files, network, data.validation)


def own_folder(folder: Path, profile: str, usual: str, uint8_input: bool) -> Path:
    """Where a network is exported that lies in a folder: there if in its usual way, else in a folder within."""
    parts = [profile] * (profile != usual) + ["uint8"] * uint8_input
    return folder / "-".join(parts) if parts else folder


def takes_pixels(manifest: dict[str, Any]) -> bool:
    """Whether somebody asked that a model takes 8-bit pixels, which others of its profile do not."""
    asked: bool = manifest["images"].get("input", {}).get("type") == "uint8"
    return asked and not find_profile(manifest.get("profile", "compact")).pixels


def images_of(data: DataSet, pixels: bool) -> dict[str, Any]:
    """What a manifest says of images: classes, counts, how they are prepared, where they come from.

    Args:
        data: that the network was trained on.
        pixels: whether the model takes them as they are, 8-bit.
    """
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    told = {
        "data": data.name,
        "about": data.about,
        "licence": data.licence,
        "remarks": data.remarks,
        "counts": {name: len(images) for name, images in parts.items()},
        "classes": data.task.names,
        "shape": data.task.image,
        **preparation(data.task),
        "input": input_of(pixels),
    }
    return {**told, "prepare": prepared(told)}
