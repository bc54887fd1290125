"""One search from its settings to trained picks, in a folder that the same command continues.

The folder holds ``run.json`` (settings), ``trials.journal`` (what was screened), ``training.jsonl`` (training runs),
``finish.json`` (how long full runs are, where time is given), ``picks/`` (their weights) and, at the end,
``result.json``.
"""

import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from qnas.data.images import DataSet
from qnas.exporters.latency import LatencyTable
from qnas.nas.budgets import CostModel, check_possible, closed_form
from qnas.nas.candidate import Candidate
from qnas.nas.deadline import Deadline, lengthened
from qnas.nas.foresight import Foresight
from qnas.nas.leaders import Leaders
from qnas.nas.limits import Limits
from qnas.nas.picks import load_pick
from qnas.nas.prepare import Prepared, load_named
from qnas.nas.proposer import proposer_for
from qnas.nas.result import PICKS, write_result
from qnas.nas.rungs import rungs_of, select
from qnas.nas.samplers import first
from qnas.nas.screen import Scorer, Screen
from qnas.nas.settings import SearchSettings
from qnas.nas.trainer import JobTrainer
from qnas.network.build import build_plan
from qnas.network.initial import Predictor
from qnas.network.plan import Plan
from qnas.quant.choices import GRIDS, GridChoice
from qnas.quant.scheme import Bits
from qnas.runs.folder import locked, read_run
from qnas.runs.identity import IMAGES, refuse_changes
from qnas.runs.progress import Progress, Watch, silent, stage, unwatched
from qnas.sampling.generator import stream
from qnas.scores.closed_form import predictor_for
from qnas.scores.race import Racer
from qnas.space.space import SearchSpace
from qnas.training.jobs import LEDGER, Job, attempted, one_thread, run_job
from qnas.training.qat import deployed_accuracy
from qnas.training.start import grids_of
from qnas.work.ledger import Ledger, Result, SharedLedger
from qnas.work.pool import WAIT, Pool
from qnas.work.queue import StudyAddress, WorkQueue, new_worker, payload_of

LATENCY, SETTINGS, PLAN = "latency.jsonl", "settings", "plan"
TRIALS = "trials.journal"

TIMED_WHOLE = 8
"""Networks that are timed as a whole, to hold the sums over their layers against."""
MakeScorer = Callable[[SearchSpace, Bits, DataSet, Predictor, int, GridChoice], Scorer]
"""Makes the scorer of a process: space, bit widths, data and hypernetwork on their device, seed, the weights' grid."""


@dataclass(frozen=True)
class Means:
    """With what a search works; none of it changes the result.

    Args:
        device: name of the device.
        workers: processes that screen and train candidates.
        storage: URL of a database through which other hosts share in; the run folder's journal if there is none.
        progress: told how far each stage is.
        watch: told which networks are best so far.
        scorer: makes what scores candidates.
        do: does a training job.
    """

    device: str = "cpu"
    workers: int = 1
    storage: str = ""
    progress: Progress = silent
    watch: Watch = unwatched
    scorer: MakeScorer = Racer
    do: Callable[[Job], Result] = run_job


def search(
    settings: SearchSettings,
    prepared: Prepared,
    folder: Path,
    means: Means = Means(),
    deadline: Deadline | None = None,
) -> list[Candidate]:
    """Run all stages, or what is left of them.

    Args:
        settings: of the search.
        prepared: by ``qnas.nas.prepare``.
        folder: by ``qnas.nas.prepare.open_prepared``.
        means: with what.
        deadline: when it is to end, if full runs may be longer or shorter than planned.

    Returns:
        The fully trained picks, best on the validation images first; the test images are read here, once.

    Raises:
        QnasError: another process is at work in the folder, or the database cannot be used.
    """
    with locked(folder), ExitStack() as stack:
        address = StudyAddress(
            means.storage or str(folder / TRIALS),
            folder.name,
            new_worker(),
            alone=means.workers == 1 and not means.storage,
        )
        if settings.limits.latency:
            limits = Limits(latency=settings.limits.latency)
            model = cost_model_for(settings, prepared.space, folder)
            check_possible(prepared.space, limits, settings.narrowest, settings.edges, model)
        queue = stack.enter_context(closing(WorkQueue(address, settings.directions)))
        ledger = Ledger(folder / LEDGER)
        if address.shared:
            _agree(queue, prepared.identity, folder)
            others = stack.enter_context(closing(WorkQueue(replace(address, name=f"{address.name}/training"))))
            ledger = SharedLedger(folder / LEDGER, others, lambda result: result.get("top1", 0.0))
        pool = stack.enter_context(Pool(partial(attempted, means.do), ledger, means.workers, one_thread))
        leaders, gain = Leaders(means.watch, settings, prepared.space), deadline.gain if deadline else 1.0
        found = _screen_everywhere(settings, prepared, folder, means, queue, pool, leaders)
        trainer = JobTrainer(
            settings, pool, str(folder / PICKS), means.device, means.progress, prepared.identity[IMAGES], leaders, gain
        )
        lengthen = partial(lengthened, folder, deadline, trainer.seconds)
        chosen = select(found, trainer, settings, foresight_of(settings, prepared, found), lengthen)
        data, grids = prepared.data, grids_of(settings.recipe)
        picks = [
            replace(one, test=deployed_accuracy(load_pick(folder, one.genotype, data, grids), data.test).top1)
            for one in chosen.picks
        ]
        write_result(folder, settings, replace(chosen, picks=picks))
    return picks


def foresight_of(settings: SearchSettings, prepared: Prepared, scored: Sequence[Candidate] = ()) -> Foresight | None:
    """What a search that is given time expects; nothing for others.

    Args:
        settings: of the search.
        prepared: with the outlook.
        scored: networks whose scores are no surprise on average, where no table tells what is usual of such scores.
    """
    if not prepared.outlook:
        return None
    foresight = Foresight(prepared.outlook, settings, prepared.space, len(prepared.data.train))
    return foresight.used_to(scored, rungs_of(settings)[-1]) if scored and not prepared.familiar else foresight


def of_first_host(address: StudyAddress, plan: Callable[[], SearchSettings]) -> dict[str, Any]:
    """The settings that the first of all hosts plans, which the others wait for.

    Args:
        address: of a study for nothing else.
        plan: what this host would plan, if it is the first.

    Raises:
        QnasError: the database cannot be used, or nothing can be planned.
    """
    with closing(WorkQueue(address)) as queue:
        while PLAN not in queue.done:
            claimed = queue.claim(PLAN)
            if claimed is None:
                time.sleep(WAIT)
            else:
                queue.finish(claimed, [0.0], settings=plan().identity())
        there: dict[str, Any] = payload_of(queue.done[PLAN])["settings"]
    return there


def _agree(queue: WorkQueue, identity: dict[str, Any], folder: Path) -> None:
    """Check that all hosts search with the same settings; the first one's count."""
    there = queue.study.user_attrs.get(SETTINGS)
    if there is None:
        queue.study.set_user_attr(SETTINGS, identity)
        there = queue.study.user_attrs[SETTINGS]  # of whoever wrote last
    refuse_changes(there, json.loads(json.dumps(identity)), folder)


def _screen_everywhere(
    settings: SearchSettings,
    prepared: Prepared,
    folder: Path,
    means: Means,
    queue: WorkQueue,
    pool: Pool[Job],
    leaders: Leaders,
) -> list[Candidate]:
    """Screen in all processes, if there are several, and take over what they found."""
    report = stage(means.progress, "screen")

    def look() -> None:
        leaders.look(queue)
        share = min(1.0, leaders.scored / settings.trials)
        best = f", best score {leaders.best:.1f} %" if leaders.scored else ""
        report(share, f"{leaders.scored} of {settings.trials} networks{best}")

    def look_again() -> None:
        queue.refresh()
        look()

    if means.workers > 1:
        apart = replace(means, progress=silent, watch=unwatched)
        addresses = (replace(queue.address, worker=new_worker()) for _ in count())
        pool.everywhere(
            _screen_apart,
            lambda: (settings, folder, apart, next(addresses)),
            look_again,
        )
    return _screen(settings, prepared, folder, means, queue, look)


def _screen(
    settings: SearchSettings,
    prepared: Prepared,
    folder: Path,
    means: Means,
    queue: WorkQueue,
    look: Callable[[], None],
) -> list[Candidate]:
    foresight = foresight_of(settings, prepared)
    proposer = proposer_for(settings, prepared.space, foresight.choose if foresight else first)
    data = prepared.data.to(torch.device(means.device))
    grid = GRIDS[settings.recipe.grid]
    predictor = predictor_for(prepared.checkpoint, data, grid)
    scorer = means.scorer(prepared.space, settings.bits, data, predictor, settings.seed, grid)
    model = cost_model_for(settings, prepared.space, folder)
    return Screen(scorer, proposer, queue, model, settings, prepared.space).run(look)


def _screen_apart(settings: SearchSettings, folder: Path, means: Means, address: StudyAddress) -> None:
    """Screen in a process of its own, as long as the process that began it lives."""

    def look() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise SystemExit("the search was stopped")

    prepared = load_named(settings.data, settings.space, settings.ghn, {"minutes": settings.minutes}, settings.target)
    begun = read_run(folder)["settings"]
    refuse_changes({IMAGES: begun[IMAGES]}, {IMAGES: prepared.identity[IMAGES]}, folder)
    with closing(WorkQueue(address, settings.directions)) as queue:
        _screen(settings, prepared, folder, means, queue, look)


def cost_model_for(settings: SearchSettings, space: SearchSpace, folder: Path) -> CostModel:
    """What gives a network's costs; its latency too if that counts, measured once a layer and kept in the folder."""
    closed = closed_form(settings.counted, settings.recipe.grid)
    if not settings.needs_latency:
        return closed

    def samples() -> list[Plan]:
        genotypes = islice(stream(space, settings.seed, bits=settings.bits), TIMED_WHOLE)
        return [build_plan(genotype, space.task) for genotype in genotypes]

    table = LatencyTable(folder / LATENCY, samples)
    return lambda plan: replace(closed(plan), latency=table.latency(plan))
