"""The picks of a finished search: as trained networks, and as folders that hold all a user needs."""

from pathlib import Path
from typing import Any

import torch

from qnas.data.images import DataSet
from qnas.data.registry import find_again
from qnas.errors import QnasError
from qnas.exporters.device_profiles import DeviceProfile
from qnas.exporters.manifest import FIRST_GRIDS, MANIFEST
from qnas.exporters.parity import Parity
from qnas.exporters.registry import find_profile
from qnas.exporters.winner import own_folder, write_winner
from qnas.nas.result import PICKS, read_result
from qnas.nas.settings import BEGUN
from qnas.network.build import build_plan
from qnas.network.grids import Grids
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.quant.choices import with_grid
from qnas.runs.files import read_rows
from qnas.runs.folder import RUN, locked, read_run
from qnas.runs.identity import IMAGES
from qnas.runs.reading import read_tensors, reading
from qnas.space.genotype import Genotype
from qnas.training.jobs import LEDGER, JobName
from qnas.training.recipe import Recipe
from qnas.training.start import grids_of, input_range

WINNER = "winner"


def load_pick(folder: Path, genotype: Genotype, data: DataSet, grids: Grids) -> Network:
    """A fully trained network of a run, its batch norms frozen, on the CPU.

    Args:
        folder: of the run.
        genotype: of the network.
        data: that it was trained on.
        grids: of the run's recipe.

    Raises:
        QnasError: its weights are missing or damaged.
    """
    plan = build_plan(genotype, data.task)
    network = Network(plan, he_parameters(plan, torch.Generator()), input_range(data.train), grids)
    path = folder / PICKS / f"{genotype.key}.safetensors"
    with reading(path, "trained weights", "search again with another `out`"):
        return network.restored(read_tensors(path)[0])


def winner_of(run: Path) -> Path:
    """The winner's folder of a finished run; written now if the run was stopped just before.

    Raises:
        QnasError: the run is not finished.
    """
    if not (run / WINNER / MANIFEST).is_file():
        with locked(run):
            export_pick(run, or_plain=True)
    return run / WINNER


def export_pick(
    run: Path,
    pick: int = 1,
    profile: str = "",
    out: Path | None = None,
    uint8_input: bool = False,
    or_plain: bool = False,
) -> tuple[Path, Parity]:
    """Export one pick of a finished run.

    Args:
        run: its folder.
        pick: 1 for the winner, 2 for the second.
        profile: of ``qnas.exporters.registry.PROFILES``; if empty, what the run's device reads, or ``compact``.
        out: folder to write; if none is given one inside the run's, for each pick and each way of exporting it.
        uint8_input: see ``write_winner``.
        or_plain: likewise.

    Returns:
        The folder, and how the model compares with torch.

    Raises:
        QnasError: the run is not finished or has no such pick, its images have changed, its device does not hold it, or
            what is exported is not the network that was trained.
    """
    picks = read_result(run)["picks"]
    if not 1 <= pick <= len(picks):
        raise QnasError(
            f"`pick` is 1 to {len(picks)} for this run, got {pick}; see them with `qnas.show({str(run)!r})`."
        )
    chosen = picks[pick - 1]
    settings = read_run(run, {**BEGUN, "data": str, "steps": int, "bits": str})["settings"]
    grids = grids_of_run(run, settings)
    data = find_again(settings["data"], settings.get(IMAGES, {}))
    genotype = Genotype.from_json(chosen["genotype"])
    settings = {**settings, "steps": steps_of(run, genotype)}
    facts = {"settings": settings, "accuracy": {key: chosen[key] for key in ("score", "estimate", "trained", "test")}}
    network = load_pick(run, genotype, data, grids)
    device = device_of_run(run, settings)
    usual = device.container if device else "compact"
    profile = find_profile(profile or usual).name
    folder = out or own_folder(run / (WINNER if pick == 1 else f"pick{pick}"), profile, usual, uint8_input)
    return folder, write_winner(folder, genotype, network, data, facts, profile, device, uint8_input, or_plain)


def steps_of(run: Path, genotype: Genotype) -> int:
    """The steps of a network's full run, its longest."""
    with reading(run / LEDGER, "a run's training runs", "copy the folder anew, with all of its files"):
        jobs = [JobName.of(str(row["job"])) for row in read_rows(run / LEDGER)]
        return max(job.steps for job in jobs if job.key == genotype.key)


def device_of_run(run: Path, settings: dict[str, Any]) -> DeviceProfile | None:
    """The device that a run of these settings searched for, if it did for one."""
    with reading(run / RUN, "a run's settings", "finish the run with the version of qnas that began it"):
        return DeviceProfile.from_json(settings["target"]) if settings.get("target") else None


def grids_of_run(run: Path, settings: dict[str, Any]) -> Grids:
    """The grids of a run of these settings: of before recipes said so, the paper's."""
    recipe = settings.get("recipe", {})
    with reading(run / RUN, "a run's settings", "finish the run with the version of qnas that began it"):
        return grids_of(Recipe.from_json(recipe)) if "grid" in with_grid(recipe) else FIRST_GRIDS
