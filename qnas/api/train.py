"""Training one network."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from qnas.api.arguments import (
    PATH_LIKE,
    AnyArchitecture,
    as_architecture,
    as_device,
    as_recipe,
    check_lengths,
    chosen_data,
    of_epochs,
    say_checkpoint,
    say_data,
    with_grid_of,
)
from qnas.checkpoints.store import default_checkpoint, load_checkpoint
from qnas.data.images import DataSet
from qnas.data.registry import Size, find_data
from qnas.devices import computing, pick_device
from qnas.errors import QnasError, check_seed
from qnas.exporters.device_profiles import DeviceProfile
from qnas.exporters.manifest import MANIFEST, WEIGHTS, read_manifest
from qnas.exporters.registry import find_profile
from qnas.exporters.winner import Winner, load_winner, write_winner
from qnas.network.build import Architecture, build_plan
from qnas.network.deployed import deploy
from qnas.network.handmade import HandMade
from qnas.network.initial import Predictor
from qnas.network.plan import Plan
from qnas.quant.choices import GRIDS
from qnas.quant.scheme import Bits, check_edges
from qnas.runs.files import remove
from qnas.runs.folder import RUN, locked, open_run, read_run
from qnas.runs.progress import Progress, silent, stage
from qnas.runs.reading import not_finite
from qnas.scores.closed_form import predictor_for
from qnas.training.qat import deployed_accuracy
from qnas.training.recipe import Recipe
from qnas.training.run import STATE, steps_within, train_in
from qnas.training.start import Kept, untrained

log = logging.getLogger("qnas")


def train(
    network: AnyArchitecture,
    bits: str | Bits = "",
    *,
    target: str | Path = "",
    grid: str = "",
    width: int = 0,
    edges: int = 0,
    data: str | Path = "auto",
    image: Size = "",
    ghn: str | Path | None = "",
    recipe: Recipe | str | Path | None = None,
    steps: int = 0,
    epochs: float = 0.0,
    minutes: float = 0.0,
    seed: int = 0,
    device: str = "auto",
    threads: int = 1,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> Winner:
    """Train one network, quantization-aware, and export it; the test images are read once, at the end.

    The same call again continues a run that was stopped, bit for bit, and returns one that is finished.

    Args:
        network: a genotype, a hand-made network such as ``resnet8`` (``qnas.network.handmade.HAND_MADE``), or the
            folder of a winner: its network, which goes on from its weights.
        bits: its widths; if empty the network's own, or the device's usual ones where it does not compute those.
        target: device that it is for, as in ``search``.
        grid: as in ``search``.
        width: channels of a hand-made network's first layers; 0 for its makers'.
        edges: bits of the weights of the first and of the last layer, such as 8; 0 for the network's own.
        data: see ``search``.
        image: see ``search``.
        ghn: checkpoint that predicts its initial parameters, or ``None`` for random ones; if empty, the data's for a
            genotype, and none for a hand-made network or a winner.
        recipe: how, or a file of that.
        steps: training steps, instead of the recipe's; 0 for those.
        epochs: passes over the training images, instead of steps.
        minutes: time of the whole run on this machine, instead of steps: as many as fit are planned once, at the start.
        seed: of initialization, noise and the order of the images.
        device: ``cpu``, ``cuda``, or ``auto``.
        threads: of the processor; another number may round sums otherwise.
        out: folder to write; named after the network and the data if there is none.
        progress: see ``qnas.api``.

    Returns:
        The trained network, as it lies in its folder.

    Raises:
        QnasError: an argument is wrong, the device does not hold the network, no pass over the images fits into the
            time, the folder is of another run, or the training ends with values that are no numbers.
    """
    known, winner = chosen_data(data, image), winner_in(network)
    check_edges(edges)
    check_seed(seed)
    architecture = as_architecture(winner.genotype if winner else network, bits, width)
    profile = as_device(target)
    if profile and not bits and profile.bits and str(architecture.bits) not in profile.bits:
        architecture = architecture.with_bits(Bits.parse(profile.usual_bits))
    architecture = architecture.with_edges(edges) if edges else architecture
    how = with_grid_of(as_recipe(recipe, steps), grid, profile)
    if profile:
        profile.check(architecture.bits, how.grid, edges)
        profile.check_operations(operations_of(architecture))
    check_lengths(steps=steps, epochs=epochs, minutes=minutes)
    images = find_data(known).to(pick_device(device))
    predicted = ghn == "" and not (winner or isinstance(architecture, HandMade))
    name = default_checkpoint(known) if predicted else str(ghn or "")
    checkpoint = load_checkpoint(name) if name else None
    model: Predictor | None = predictor_for(checkpoint, images, GRIDS[how.grid]) if checkpoint else None
    goes_on = winner if ghn == "" else None
    if goes_on:
        check_start(goes_on, images, architecture)
        model, how = Kept(dict(goes_on.slots)), replace(how, noise=0.0)
    folder = Path(out) if out else Path("runs") / f"{images.name}-{architecture.key}"
    identity: dict[str, Any] = {
        "network": architecture.to_json(), "bits": str(architecture.bits), "data": known, "images": images.fingerprint,
        "ghn": name, "seed": seed, "threads": threads, "epochs": epochs, "minutes": minutes,
        "target": profile and profile.to_json(),
    }  # fmt: skip
    if goes_on:
        identity["start"] = read_manifest(goes_on.folder)["sha256"][WEIGHTS]
    with computing(threads):
        how = planned(how, architecture, images, model, identity, folder)
        identity |= {"steps": how.steps, "recipe": how.ingredients}
        if profile and not (folder / MANIFEST).is_file():
            check_memory(profile, build_plan(architecture, images.task), images, how)
        open_run(identity, folder, {"torch": torch.__version__})
        say_data(known, data, images)
        if checkpoint:
            say_checkpoint(checkpoint, images)
        with locked(folder):
            if not (folder / MANIFEST).is_file():
                _train(folder, architecture, images, how, seed, model, identity, profile, progress)
            remove(folder / STATE)
    return load_winner(folder)


def winner_in(network: AnyArchitecture) -> Winner | None:
    """The winner whose folder is named, if it is one."""
    folder = Path(network) if isinstance(network, PATH_LIKE) else None
    return load_winner(folder) if folder and (folder / MANIFEST).is_file() else None


def check_start(winner: Winner, data: DataSet, architecture: Architecture) -> None:
    """Check that a winner's weights fit the images.

    Raises:
        QnasError: they do not.
    """
    if {slot.name: slot.shape for slot in build_plan(architecture, data.task).slots} != {
        name: tuple(value.shape) for name, value in winner.slots.items()
    }:
        raise QnasError(
            f"The weights in {winner.folder} are for images {winner.task.image} of {winner.task.classes} classes, got "
            f"{data.name} with {data.task.image} and {data.task.classes}; give `ghn=None` to train from random ones."
        )


def operations_of(architecture: Architecture) -> set[str]:
    """The operations of a genotype's cells; a hand-made network has none by name."""
    cells = [] if isinstance(architecture, HandMade) else [architecture.normal, architecture.reduction]
    return {branch.operation for cell in cells for step in cell for branch in step}


def check_memory(device: DeviceProfile, plan: Plan, data: DataSet, recipe: Recipe) -> None:
    """Check, before it is trained, that a device holds a network: what it takes depends on no weight.

    Raises:
        QnasError: it does not, or its container does not hold such networks.
    """
    if device.flash or device.ram:
        container = find_profile(device.container)
        files = container.write(deploy(untrained(plan, data, recipe, 0)), data.task, pixels=False)
        device.check_fit(container.memory(files))


def planned(
    recipe: Recipe,
    architecture: Architecture,
    data: DataSet,
    ghn: Predictor | None,
    identity: dict[str, Any],
    folder: Path,
) -> Recipe:
    """The recipe with the length that epochs or minutes ask for; minutes are planned once, when the run begins."""
    if identity["epochs"]:
        return of_epochs(recipe, identity["epochs"], data)
    if not identity["minutes"]:
        return recipe
    if (folder / RUN).is_file():
        return recipe.of(read_run(folder, {"steps?": int})["settings"].get("steps", recipe.steps))
    steps = steps_within(identity["minutes"], build_plan(architecture, data.task), data, recipe, ghn)
    epochs = steps * recipe.batch / len(data.train)
    log.info("Plan: %d steps of %d images, %.1f passes over the training images.", steps, recipe.batch, epochs)
    return recipe.of(steps)


def _train(
    folder: Path,
    architecture: Architecture,
    data: DataSet,
    recipe: Recipe,
    seed: int,
    ghn: Predictor | None,
    identity: dict[str, Any],
    device: DeviceProfile | None,
    progress: Progress,
) -> None:
    """Train, measure on the validation images, and on the test images once, and write the folder."""
    plan = build_plan(architecture, data.task)
    trained = train_in(folder, plan, data, recipe, seed, ghn, stage(progress, "train")).cpu()
    if bad := not_finite(trained.state_dict()):
        raise QnasError(
            f"A trained network consists of numbers, but {bad[0]} is none after {recipe.steps} steps; name another "
            "`out` and give a lower rate in its `recipe`."
        )
    here = data.to(torch.device("cpu"))
    validation, test = (deployed_accuracy(trained, part).top1 for part in (here.validation, here.test))
    settings = {**identity, "recipe": asdict(recipe)}
    facts = {"settings": settings, "accuracy": {"trained": {str(recipe.steps): validation}, "test": test}}
    profile = device.container if device else "compact"
    write_winner(folder, architecture, trained, here, facts, profile, device, or_plain=True)
