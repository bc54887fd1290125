"""A table of what networks reach when they are trained, to hold scores and searches against without training.

For each of many genotypes at several bit widths it holds what is known before training, and training runs from
predicted and from random parameters: full ones, and the shorter ones of a search. Accuracies are on the validation
images, as a search would see them, and on the test images, which are the truth here and nothing else.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from qnas.checkpoints.files import write_bytes
from qnas.data.images import DataSet
from qnas.errors import QnasError, at_least_one
from qnas.evaluation.accuracy import EVALUATION_BATCH
from qnas.evaluation.signals import embedding, predicted_signals, zero_cost
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.costs import Costs, costs
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.search.jobs import Job, Ledger, Pool
from qnas.search.settings import training_lengths
from qnas.search.stages import Tell
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace

TABLE = "truth.jsonl.gz"
SAME = ("data", "space_hash", "ghn_hash")
"""The settings that two tables share if the runs of one may stand in the other."""


@dataclass(frozen=True)
class TruthSettings:
    """What a table holds.

    Args:
        data: name or path of the data set.
        space: name or path of the search space.
        ghn: name or path of the checkpoint that predicts.
        networks: how many genotypes.
        bits: each is trained at all of these.
        seeds: full runs from each start; shorter ones are of the first seed alone.
        steps: of a full run; shorter ones as in a search.
        seed: of the genotypes.

    Raises:
        QnasError: a count is out of range.
    """

    data: str
    space: str
    ghn: str
    networks: int = 150
    bits: tuple[Bits, ...] = tuple(Bits.parse(text) for text in ("w4a4", "w2a2", "w8a8", "w4a8"))
    seeds: int = 2
    steps: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one({"--networks": self.networks, "--seeds": self.seeds, "--steps": self.steps})

    def identity(self) -> dict[str, Any]:
        """Plain values that must be the same for a table to go on."""
        return {**asdict(self), "bits": [str(bits) for bits in self.bits]}


@dataclass(frozen=True)
class Run:
    """One training run: its start (``predicted`` or ``random``), seed and length, and top-1 accuracies in per cent."""

    start: str
    seed: int
    steps: int
    validation: float
    test: float
    seconds: float


@dataclass(frozen=True)
class Entry:
    """A genotype at its bit widths: what it costs, what is known before it is trained, and its runs.

    ``signals`` are those of ``evaluation.signals`` on the validation images, ``embedding`` the mean of its node states.
    """

    genotype: Genotype
    costs: Costs
    signals: dict[str, float]
    embedding: tuple[float, ...]
    runs: tuple[Run, ...]

    def of(self, start: str, steps: int) -> list[Run]:
        """The runs of this start and length, by seed."""
        return [run for run in self.runs if (run.start, run.steps) == (start, steps)]


@dataclass(frozen=True)
class Truth:
    """A table: the settings it was made with, the steps of an epoch, and its entries."""

    settings: dict[str, Any]
    epoch: int
    entries: tuple[Entry, ...]


def truth_jobs(settings: TruthSettings, genotypes: list[Genotype], epoch: int, device: str = "cpu") -> list[Job]:
    """All training runs of a table, those of the first seed first.

    Args:
        settings: of the table.
        genotypes: without bit widths.
        epoch: steps that see every training image once: one more length.
        device: where they compute.
    """
    result = []
    for seed in range(settings.seeds):
        lengths = (*training_lengths(settings.steps), epoch) if seed == 0 else (settings.steps,)
        for bits in settings.bits:
            for genotype in genotypes:
                for ghn in (settings.ghn, ""):
                    for steps in dict.fromkeys(lengths):  # short runs can have the same length
                        job = Job(genotype.with_bits(bits), steps, seed, settings.data, ghn, device, test=True)
                        result.append(job)
    return result


def drawn(space: SearchSpace, settings: TruthSettings) -> list[Genotype]:
    """The genotypes of a table: of the part of the space that no hypernetwork is trained on."""
    return list(islice(stream(space, settings.seed, "held_out"), settings.networks))


def run_all(pool: Pool, jobs: list[Job], tell: Tell) -> dict[Genotype, list[Run]]:
    """The runs of every genotype, after the jobs that the pool's ledger lacks are done."""
    runs: dict[Genotype, list[Run]] = {job.genotype: [] for job in jobs}
    for done, (job, result) in enumerate(pool.run(jobs), 1):
        start = "predicted" if job.ghn else "random"
        validation, test = (round(result[key], 3) for key in ("top1", "test_top1"))
        runs[job.genotype].append(Run(start, job.seed, job.steps, validation, test, result["seconds"]))
        tell(done / len(jobs), f"{done} of {len(jobs)} runs")
    return runs


def check_alike(table: Truth, identity: dict[str, Any]) -> None:
    """Check that the runs of an older table can stand in a new one.

    Raises:
        QnasError: the older table is of other data, or another space or checkpoint.
    """
    if other := [key for key in SAME if table.settings.get(key) != identity[key]]:
        raise QnasError(
            f"A table goes on from one of the same data, space and checkpoint, but {', '.join(other)} differ; "
            "leave out --start-from."
        )


def take_over(table: Truth, identity: dict[str, Any], ledger: Ledger) -> None:
    """Give a ledger the runs of an older table, so that a larger one does not do them again.

    Args:
        table: the older one, which ``check_alike`` accepts.
        identity: settings and hashes of the new one.
        ledger: of the new one.
    """
    for entry in table.entries:
        for run in entry.runs:
            ghn = identity["ghn"] if run.start == "predicted" else ""
            name = Job(entry.genotype, run.steps, run.seed, identity["data"], ghn, "cpu").name
            if name not in ledger.results:
                ledger.add({"job": name, "top1": run.validation, "test_top1": run.test, "seconds": run.seconds})


def describe(
    runs: dict[Genotype, list[Run]], ghn: GHN, space: SearchSpace, data: DataSet, tell: Tell
) -> Iterator[Entry]:
    """The entries of a table: every genotype with its costs and signals beside its runs.

    Args:
        runs: of every genotype, by ``run_all``.
        ghn: predicts parameters.
        space: with its limits counted for the data.
        data: on the hypernetwork's device.
        tell: called after every entry.
    """
    images, labels = data.train.batch(slice(0, EVALUATION_BATCH))
    for done, (genotype, own) in enumerate(runs.items(), 1):
        plan, generator = build_plan(genotype, space.image, space.classes), torch.Generator().manual_seed(0)
        with torch.no_grad():
            (parameters,) = ghn([plan], whole=False)
        signals = predicted_signals(plan, parameters, data.validation, generator)._asdict()
        signals["gradient_norm"], signals["snip"] = zero_cost(plan, images, labels, generator)
        tell(done / len(runs), f"{done} of {len(runs)} networks")
        yield Entry(
            genotype,
            costs(plan),
            {name: round(value, 6) for name, value in signals.items()},
            tuple(round(value, 5) for value in embedding(ghn, plan).tolist()),
            tuple(sorted(own, key=lambda run: (run.start, run.seed, run.steps))),
        )


def save_truth(folder: Path, truth: Truth) -> Path:
    """Write a table as compressed JSON lines, settings first; the same bytes for the same table."""
    rows: list[dict[str, Any]] = [{"settings": truth.settings, "epoch": truth.epoch}]
    for entry in truth.entries:
        plain = {"signals": entry.signals, "embedding": entry.embedding, "runs": [asdict(run) for run in entry.runs]}
        rows.append({"genotype": entry.genotype.to_json(), "costs": asdict(entry.costs), **plain})
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    write_bytes(folder / TABLE, gzip.compress(text.encode(), mtime=0))
    return folder / TABLE


def load_truth(path: Path) -> Truth:
    """Read a table.

    Raises:
        QnasError: the file is missing or damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            head, *rows = [json.loads(line) for line in file]
        return Truth(dict(head["settings"]), int(head["epoch"]), tuple(_entry(row) for row in rows))
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise QnasError(
            f"The table {path} cannot be read ({error}); make one with: qnas study truth --out {path.parent}"
        ) from error


def _entry(row: dict[str, Any]) -> Entry:
    runs = tuple(Run(**run) for run in row["runs"])
    genotype = Genotype.from_json(row["genotype"])
    return Entry(genotype, Costs(**row["costs"]), row["signals"], tuple(row["embedding"]), runs)
