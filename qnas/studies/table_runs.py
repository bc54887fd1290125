"""How a benchmark table is made: its networks are drawn, trained and described, and runs of an older one taken over."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch

from qnas.checkpoints.store import Checkpoint
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.graph.encoding import encode
from qnas.nas.budgets import fitting
from qnas.nas.prepare import load_named, open_prepared
from qnas.nas.settings import training_lengths
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.initial import he_parameters
from qnas.runs.folder import locked
from qnas.runs.identity import IMAGES
from qnas.runs.progress import Progress, Report, silent, stage
from qnas.sampling.generator import stream
from qnas.scores.accuracy import EVALUATION_BATCH
from qnas.scores.closed_form import predictor_for
from qnas.scores.predicted import measure
from qnas.scores.zero_cost import ZERO_COST
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.studies.benchmark_table import TABLE, BenchmarkTable, Entry, Run, load_table, save_table
from qnas.studies.settings import TableSettings
from qnas.training.jobs import LEDGER, Job, attempted, one_thread, run_job
from qnas.training.recipe import Recipe
from qnas.work.failures import Failures
from qnas.work.ledger import Ledger, Result
from qnas.work.pool import Pool

DRAWN = 100
"""Networks that are looked at for each of a table."""
SIGNALS = ("top1", "loss", "margin", "drop", "qmse")
"""What a table holds of a network's score."""
SAME = ("data", "space_hash", "recipe")
"""The settings that two tables share if the runs of one may stand in the other; those from predicted parameters may
only if the hypernetwork is the same, too. Images that the older one tells stand for ``data``, which may move."""


def make_table(
    settings: TableSettings,
    folder: Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    start_from: Path | None = None,
    progress: Progress = silent,
    do: Callable[[Job], Result] = run_job,
) -> Path:
    """Train the networks of a table, or those that its folder lacks, and write it.

    Args:
        settings: of the table.
        folder: of the table, its runs and its settings.
        device: where the training runs compute.
        workers: processes that train.
        start_from: older table, or its folder, whose runs are kept.
        progress: told how far each stage is.
        do: does a training job.

    Returns:
        The table's file.

    Raises:
        QnasError: data, space or checkpoint cannot be used, the folder or the older table is of others, or too few
            networks keep the limits.
    """
    prepared = load_named(settings.data, settings.space, settings.ghn, settings.identity())
    older = load_table(start_from / TABLE if start_from.is_dir() else start_from) if start_from else None
    if older:
        check_alike(older, prepared.identity)
    open_prepared(prepared, folder)
    epoch, images = -(-len(prepared.data.train) // settings.recipe.batch), json.dumps(prepared.identity[IMAGES])
    genotypes = drawn(prepared.space, settings)
    jobs = [replace(job, images=images) for job in table_jobs(settings, genotypes, epoch, device)]
    with locked(folder):
        ledger = Ledger(folder / LEDGER)
        if older:
            take_over(older, prepared.identity, ledger)
        with Pool(partial(attempted, do), ledger, workers, one_thread) as pool:
            runs = run_all(pool, jobs, stage(progress, "train"))
    data = prepared.data.to(torch.device(device))
    entries = tuple(describe(runs, prepared.checkpoint, prepared.space, data, stage(progress, "describe")))
    return save_table(folder, BenchmarkTable(prepared.identity, epoch, entries))


def table_jobs(settings: TableSettings, genotypes: list[Genotype], epoch: int, device: str = "cpu") -> list[Job]:
    """All training runs of a table, those of the first seed first.

    Args:
        settings: of the table.
        genotypes: at any bit widths.
        epoch: steps that see every training image once: one more length.
        device: where they compute.
    """
    if settings.parts:
        return list({job.name: job for job in _part_jobs(settings, genotypes, epoch, device)}.values())
    result = []
    for seed in range(settings.seeds):
        lengths = (*training_lengths(settings.recipe.steps), epoch) if seed == 0 else (settings.recipe.steps,)
        for bits, genotype, ghn in product(settings.bits, genotypes, (settings.ghn, "")):
            for steps in dict.fromkeys(lengths):  # short runs can have the same length
                recipe = settings.recipe.of(steps)
                result.append(Job(genotype.with_bits(bits), recipe, seed, settings.data, ghn, device, test=True))
    return result


def _part_jobs(settings: TableSettings, genotypes: list[Genotype], epoch: int, device: str) -> Iterator[Job]:
    """The training runs of a table's parts, one part after another."""
    for part in settings.parts:
        recipe = settings.recipe.of(max(1, round(part.epochs * epoch)))
        for seed, genotype, start in product(range(part.seeds), genotypes[: part.networks], part.starts):
            ghn = settings.ghn if start == "predicted" else ""
            yield Job(part.widths_of(genotype, settings.seed), recipe, seed, settings.data, ghn, device, test=True)


def drawn(space: SearchSpace, settings: TableSettings) -> list[Genotype]:
    """The genotypes of a table: of the part of the space that no hypernetwork is trained on, within its limits.

    Raises:
        QnasError: too few keep them.
    """
    parts, limits = settings.parts, settings.limits
    count = max((part.networks for part in parts), default=settings.networks)
    first = parts[0].bits if parts else settings.bits[0]
    candidates = islice(stream(space, settings.seed, "held_out", first), DRAWN * count)
    found = list(islice(fitting(candidates, limits, space), count))
    if len(found) < count:
        raise QnasError(
            f"A table of {count} networks needs as many that keep its limits, got {len(found)} of {DRAWN * count}; "
            "raise the limits."
        )
    return found


def run_all(pool: Pool[Job], jobs: list[Job], report: Report) -> dict[Genotype, list[Run]]:
    """The runs of every genotype that did not fail, after the jobs that the pool's ledger lacks are done."""
    runs: dict[Genotype, list[Run]] = {job.genotype: [] for job in jobs}
    failures = Failures()
    for done, (job, result) in enumerate(pool.run(jobs), 1):
        failures.note(job.name, result.get("failed", ""))
        if "failed" in result:
            continue
        start = "predicted" if job.ghn else "random"
        validation, test = (round(result[key], 3) for key in ("top1", "test_top1"))
        spent, losses = result["seconds"], tuple(result.get("losses", ()))
        runs[job.genotype].append(Run(start, job.seed, job.recipe.steps, validation, test, spent, losses))
        report(done / len(jobs), f"{done} of {len(jobs)} runs")
    return runs


def check_alike(table: BenchmarkTable, identity: dict[str, Any]) -> None:
    """Check that the runs of an older table can stand in a new one.

    Raises:
        QnasError: the older table is of other data, or another space, checkpoint or recipe.
    """
    same = (IMAGES, *SAME[1:]) if IMAGES in table.settings else SAME
    if different := [key for key in same if table.settings.get(key) != identity[key]]:
        raise QnasError(
            f"A table goes on from one of the same data, space and recipe, but {', '.join(different)} "
            "differ; leave out `start_from`."
        )


def take_over(table: BenchmarkTable, identity: dict[str, Any], ledger: Ledger) -> None:
    """Give a ledger the runs of an older table, so that a new one does not do them again.

    Where the hypernetwork is another, those are the runs from random parameters.

    Args:
        table: the older one, which ``check_alike`` accepts.
        identity: settings and hashes of the new one.
        ledger: of the new one.
    """
    for entry in table.entries:
        for run in entry.runs:
            if run.start == "predicted" and table.settings["ghn_hash"] != identity["ghn_hash"]:
                continue
            ghn = identity["ghn"] if run.start == "predicted" else ""
            recipe = Recipe.from_json({**identity["recipe"], "steps": run.steps})
            name = Job(entry.genotype, recipe, run.seed, identity["data"], ghn, "cpu").name
            if name not in ledger.results:
                reached = {"top1": run.validation, "test_top1": run.test, "seconds": run.seconds}
                ledger.add({"job": name, **reached, **({"losses": run.losses} if run.losses else {})})


def describe(
    runs: dict[Genotype, list[Run]], checkpoint: Checkpoint, space: SearchSpace, data: DataSet, report: Report
) -> Iterator[Entry]:
    """The entries of a table: every genotype with its costs and signals beside its runs.

    Args:
        runs: of every genotype, by ``run_all``.
        checkpoint: predicts parameters.
        space: with its limits counted for the data.
        data: on the device that computes.
        report: called after every entry.
    """
    images, labels = data.train.batch(slice(0, EVALUATION_BATCH))
    predictor = predictor_for(checkpoint, data)
    for done, (genotype, own) in enumerate(runs.items(), 1):
        plan, generator = build_plan(genotype, space.task), torch.Generator().manual_seed(0)
        with torch.no_grad():
            (parameters,) = predictor([plan], whole=False)
            graph = encode(plan, checkpoint.ghn.config.virtual_edges)
            embedding = checkpoint.ghn.embed(graph).mean(0)
        score = measure(plan, parameters, data.validation, predictor.weights)
        start = he_parameters(plan, generator)
        signals = {name: getattr(score, name) for name in SIGNALS}
        signals |= {name: proxy(plan, start, images, labels) for name, proxy in ZERO_COST.items()}
        report(done / len(runs), f"{done} of {len(runs)} networks")
        yield Entry(
            genotype,
            costs(plan),
            {name: round(value, 6) for name, value in signals.items()},
            tuple(round(value, 5) for value in embedding.tolist()),
            tuple(sorted(own, key=lambda run: (run.start, run.seed, run.steps))),
        )
