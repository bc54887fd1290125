"""One search from its settings to trained picks, in a folder that the same command continues.

The folder holds ``run.json`` (settings), ``trials.jsonl`` (what was screened), ``training.jsonl`` (training runs),
``picks/`` (weights of full runs) and, at the end, ``result.json``.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import qnas
from qnas.checkpoints.files import write_json
from qnas.checkpoints.identity import refuse_changes
from qnas.checkpoints.store import WEIGHTS, load_checkpoint
from qnas.data.find import find_data
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.module import Network, he_parameters
from qnas.search.candidate import Candidate
from qnas.search.genes import gene_choices
from qnas.search.jobs import Ledger, Pool
from qnas.search.limits import check_possible
from qnas.search.settings import SearchSettings
from qnas.search.stages import Screen, Trainer, best, best_trained, estimate_all, spread
from qnas.search.study import Proposer
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace, find_space
from qnas.training.qat import deployed_accuracy, input_range

RUN, TRIALS, LEDGER, PICKS, RESULT = "run.json", "trials.jsonl", "training.jsonl", "picks", "result.json"


class StageBar(Protocol):
    """What a stage tells its progress to."""

    def update(self, share: float, remark: str) -> None:
        """``share`` of the stage is done."""


Stages = Callable[[str], AbstractContextManager[StageBar]]


@dataclass(frozen=True)
class Prepared:
    """Data, space and hypernetwork, loaded and checked against each other.

    ``identity`` tells one run from another: the settings, and hashes of the space and of the checkpoint's weights.
    """

    data: DataSet
    space: SearchSpace
    ghn: GHN
    identity: dict[str, Any]


def prepare(settings: SearchSettings) -> Prepared:
    """Load what a search needs and check, before anything is spent, that its budgets can be kept.

    Raises:
        QnasError: data, space or checkpoint cannot be used, or no network keeps a budget.
    """
    prepared = load_named(settings.data, settings.space, settings.ghn, settings.identity())
    check_possible(prepared.space, settings.limits.within(prepared.space), settings.bits)
    return prepared


def load_named(data: str, space: str, ghn: str, identity: dict[str, Any]) -> Prepared:
    """Load a data set, a space and a checkpoint by their names, for a run of these settings.

    Raises:
        QnasError: one of them cannot be used, or not with the others.
    """
    found = find_data(data)
    searched = find_space(space).for_data(found.image, len(found.classes))
    checkpoint = load_checkpoint(ghn)
    if checkpoint.ghn.config.classes != len(found.classes):
        raise QnasError(
            f"Checkpoint {ghn!r} predicts {checkpoint.ghn.config.classes} classes, data set {found.name!r} has "
            f"{len(found.classes)}; train one with: qnas fit-ghn --data {data}"
        )
    weights = (checkpoint.path / WEIGHTS).read_bytes()
    hashes = {"space_hash": _hash(repr(searched).encode()), "ghn_hash": _hash(weights)}
    return Prepared(found, searched, checkpoint.ghn, {**identity, **hashes})


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def default_folder(settings: SearchSettings, prepared: Prepared) -> Path:
    """A folder named after the settings, so that the same command finds its run again."""
    digest = _hash(json.dumps(prepared.identity, sort_keys=True).encode())[:8]
    return Path("runs") / f"{prepared.data.name}-{settings.bits}-{digest}"


def open_run(identity: dict[str, Any], folder: Path) -> None:
    """Make the run folder, or check that it belongs to the same settings.

    Raises:
        QnasError: it is of other settings, or no run folder at all.
    """
    path = folder / RUN
    if path.is_file():
        refuse_changes(read_run(folder)["settings"], identity, folder)
    elif folder.is_dir() and any(folder.iterdir()):
        raise QnasError(f"A run folder holds {RUN}, but {folder} holds other files; name another --out.")
    else:
        try:
            write_json(path, {"qnas": qnas.__version__, "torch": torch.__version__, "settings": identity})
        except OSError as error:
            raise QnasError(f"A run needs a folder, but {folder} is none ({error}); name another --out.") from error


def read_run(folder: Path) -> dict[str, Any]:
    """What ``open_run`` wrote.

    Raises:
        QnasError: the file is missing or damaged.
    """
    try:
        run: dict[str, Any] = json.loads((folder / RUN).read_text(encoding="utf-8"))
        if not isinstance(run["settings"], dict):
            raise TypeError("settings are no table")
        return run
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QnasError(
            f"{folder / RUN} cannot be read ({error}); name the folder of a run, or another --out."
        ) from error


def search(
    settings: SearchSettings, prepared: Prepared, folder: Path, device: str, workers: int, stage: Stages
) -> list[Candidate]:
    """Run all stages, or what is left of them.

    Args:
        settings: of the search.
        prepared: by ``prepare``.
        folder: by ``open_run``.
        device: name of the device.
        workers: processes that train candidates.
        stage: opens a progress bar for a stage's title.

    Returns:
        The fully trained picks, best on the validation images first; the test images are read here, once.
    """
    data, space = prepared.data, prepared.space
    proposer = Proposer(folder / TRIALS, settings.sampler, settings.seed, gene_choices(space))
    with stage("screen") as bar:
        ghn, images = prepared.ghn.to(device), data.to(torch.device(device))
        found = Screen(settings, space, images, ghn, proposer).run(bar.update)
    short, middle, full = settings.rungs
    with Pool(workers, Ledger(folder / LEDGER)) as pool:
        trainer = Trainer(settings, pool, device, str(folder / PICKS))
        with stage("calibrate") as bar:
            trainer.train(spread(found, settings.calibration), short, bar.update)
        calibration = estimate_all(found, short, space)
        with stage("halve") as bar:
            trainer.train(best(found, max(settings.survivors, settings.top)), middle, bar.update)
        with stage("finish") as bar:
            trainer.train(best_trained(found, middle, settings.top), full, bar.update, keep=True)
    picks = best_trained(found, full, settings.top)
    for pick in picks:
        pick.test = deployed_accuracy(load_pick(folder, pick.genotype, data), data.test).top1
    write_json(folder / RESULT, {
        "screened": len(found),
        "calibration": calibration and {
            "labels": calibration.labels,
            "mean_absolute_error": calibration.error,
            "tau": calibration.tau,
            "tau_params": calibration.tau_params,
        },
        "picks": [pick.to_json() for pick in picks],
        "candidates": [candidate.to_json() for candidate in found if candidate not in picks],
    })  # fmt: skip
    return picks


def load_pick(folder: Path, genotype: Genotype, data: DataSet) -> Network:
    """A fully trained network of a run, frozen, on the CPU.

    Raises:
        QnasError: its weights are missing or damaged.
    """
    plan = build_plan(genotype, data.image, len(data.classes))
    network = Network(plan, he_parameters(plan, torch.Generator()), input_range(data.train))
    path = folder / PICKS / f"{genotype.key}.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise QnasError(
            f"The trained weights {path} cannot be read ({error}); search again with another --out."
        ) from error
    network.frozen = True
    return network.eval()
