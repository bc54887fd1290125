"""One search from its settings to trained picks, in a folder that the same command continues.

The folder holds ``run.json`` (settings), ``trials.journal`` (what was screened), ``training.jsonl`` (training runs),
``picks/`` (weights of full runs) and, at the end, ``result.json``.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file

import qnas
from qnas.checkpoints.files import write_json
from qnas.checkpoints.identity import refuse_changes
from qnas.checkpoints.store import WEIGHTS, load_checkpoint
from qnas.data.find import find_data
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.export.latency import LatencyTable
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.module import Network, he_parameters
from qnas.network.plan import Plan
from qnas.sampling.generator import stream
from qnas.search.board import Board, Place, facts_of, new_owner
from qnas.search.candidate import Candidate
from qnas.search.genes import gene_choices
from qnas.search.jobs import Ledger, Pool, SharedLedger
from qnas.search.limits import Limits, Price, check_possible
from qnas.search.settings import SearchSettings
from qnas.search.stages import Screen, Tell, Trainer, best, best_trained, estimate_all, on_front, spread
from qnas.search.study import Proposer
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace, find_space
from qnas.training.qat import deployed_accuracy, input_range

LOCK, LATENCY, SETTINGS = "run.lock", "latency.jsonl", "settings"
RUN, TRIALS, LEDGER, PICKS, RESULT = "run.json", "trials.journal", "training.jsonl", "picks", "result.json"

TIMED_WHOLE = 8
"""Networks that are timed as a whole, to hold the sums over their layers against."""


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
    limits = replace(settings.limits.within(prepared.space), latency=0.0)  # which takes a run folder to measure
    check_possible(prepared.space, limits, settings.narrowest)
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
    settings: SearchSettings,
    prepared: Prepared,
    folder: Path,
    device: str,
    workers: int,
    stage: Stages,
    storage: str = "",
) -> list[Candidate]:
    """Run all stages, or what is left of them.

    Args:
        settings: of the search.
        prepared: by ``prepare``.
        folder: by ``open_run``.
        device: name of the device.
        workers: processes that screen and train candidates.
        stage: opens a progress bar for a stage's title.
        storage: URL of a database through which other hosts share in; the run folder's journal if there is none.

    Returns:
        The fully trained picks, best on the validation images first; the test images are read here, once.

    Raises:
        QnasError: another process is at work in the folder, or the database cannot be used.
    """
    try:
        with FileLock(folder / LOCK, timeout=0):
            return _search(settings, prepared, folder, device, workers, stage, storage)
    except Timeout as error:
        raise QnasError(f"One search at a time works in a folder, and one does in {folder}; wait for it.") from error


def _search(
    settings: SearchSettings, prepared: Prepared, folder: Path, device: str, workers: int, stage: Stages, storage: str
) -> list[Candidate]:
    data, space, pareto = prepared.data, prepared.space, settings.pareto
    alone = workers == 1 and not storage
    place = Place(storage or str(folder / TRIALS), folder.name, new_owner(), alone)
    short, middle, full = settings.rungs
    if settings.limits.latency:
        limits = Limits(latency=settings.limits.latency)
        check_possible(space, limits, settings.narrowest, pricer(settings, space, folder))
    with ExitStack() as stack:
        board = stack.enter_context(closing(Board(place, settings.directions)))
        ledger = Ledger(folder / LEDGER)
        if place.shared:
            _agree(board, prepared.identity, folder)
            training = stack.enter_context(closing(Board(replace(place, name=f"{place.name}/training"))))
            ledger = SharedLedger(folder / LEDGER, training)
        pool = stack.enter_context(Pool(workers, ledger))
        with stage("screen") as bar:
            if workers > 1:
                places = (replace(place, owner=new_owner()) for _ in count())
                pool.everywhere(
                    _screen_apart,
                    lambda: (settings, folder, device, next(places)),
                    lambda: _watch(board, settings, bar),
                )
            found = _screen(settings, prepared, folder, device, board, bar.update)
        trainer = Trainer(settings, pool, device, str(folder / PICKS))
        with stage("calibrate") as bar:
            trainer.train(spread(found, settings.calibration, pareto), short, bar.update)
        calibration = estimate_all(found, short, space)
        with stage("halve") as bar:
            trainer.train(best(found, max(settings.survivors, settings.top), pareto), middle, bar.update)
        with stage("finish") as bar:
            trainer.train(best_trained(found, middle, settings.top, pareto), full, bar.update, keep=True)
    picks = best_trained(found, full, settings.top)
    for pick in picks:
        pick.test = deployed_accuracy(load_pick(folder, pick.genotype, data), data.test).top1
    front = on_front(picks, full, pareto)
    write_json(folder / RESULT, {
        "screened": len(found),
        "pareto": list(pareto),
        "calibration": calibration and {
            "labels": calibration.labels,
            "mean_absolute_error": calibration.error,
            "tau": calibration.tau,
            "tau_params": calibration.tau_params,
        },
        "picks": [{**pick.to_json(), "front": pick in front} for pick in picks],
        "candidates": [candidate.to_json() for candidate in found if candidate not in picks],
    })  # fmt: skip
    return picks


def _agree(board: Board, identity: dict[str, Any], folder: Path) -> None:
    """Check that all hosts search with the same settings; the first one's count."""
    there = board.study.user_attrs.get(SETTINGS)
    if there is None:
        board.study.set_user_attr(SETTINGS, identity)
    else:
        refuse_changes(there, json.loads(json.dumps(identity)), folder)


def _screen(
    settings: SearchSettings, prepared: Prepared, folder: Path, device: str, board: Board, tell: Tell
) -> list[Candidate]:
    space, genes = prepared.space, gene_choices(prepared.space, settings.widths)
    proposer = Proposer(settings.sampler, settings.seed, genes, settings.directions)
    ghn, images = prepared.ghn.to(device), prepared.data.to(torch.device(device))
    price = pricer(settings, space, folder)
    return Screen(settings, space, images, ghn, proposer, board, price).run(tell)


def _screen_apart(settings: SearchSettings, folder: Path, device: str, place: Place) -> None:
    """Screen in a process of its own, as long as the process that began it lives."""

    def tell(share: float, remark: str) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise SystemExit("the search was stopped")

    prepared = load_named(settings.data, settings.space, settings.ghn, {})
    with closing(Board(place, settings.directions)) as board:
        _screen(settings, prepared, folder, device, board, tell)


def _watch(board: Board, settings: SearchSettings, bar: StageBar) -> None:
    """Tell the progress of others."""
    board.refresh()
    scored = sum(facts_of(trial)["images"] > 0 for trial in board.done.values())
    bar.update(min(1.0, scored / settings.trials), f"{scored} networks")


def pricer(settings: SearchSettings, space: SearchSpace, folder: Path) -> Price:
    """What tells a network's costs; its latency too if that counts, measured once a layer and kept in the folder."""
    if not settings.needs_latency:
        return costs

    def samples() -> list[Plan]:
        genotypes = islice(stream(space, settings.seed, bits=settings.bits), TIMED_WHOLE)
        return [build_plan(genotype, space.image, space.classes) for genotype in genotypes]

    table = LatencyTable(folder / LATENCY, samples)
    return lambda plan: replace(costs(plan), latency=table.latency(plan))


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
