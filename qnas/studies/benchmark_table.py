"""A table of what networks reach when they are trained, to hold scores and searches against without training.

For each of many genotypes at several bit widths it holds what is known before training, and training runs from
predicted and from random parameters: full ones, and the shorter ones of a search. Accuracies are on the validation
images, as a search would see them, and on the test images, which are the truth here and nothing else.
"""

import gzip
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qnas.network.costs import Costs
from qnas.runs.files import write_bytes
from qnas.runs.reading import MOST_JSON, parse_rows, reading, unzipped
from qnas.scores.predicted import Score
from qnas.space.genotype import Genotype
from qnas.training.recipe import Recipe

TABLE = "truth.jsonl.gz"


@dataclass(frozen=True)
class Run:
    """One training run: its start (``predicted`` or ``random``), seed and length, and top-1 accuracies in per cent.

    ``losses`` are the mean training losses of its ten parts; older tables have none.
    """

    start: str
    seed: int
    steps: int
    validation: float
    test: float
    seconds: float
    losses: tuple[float, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A genotype at its bit widths: what it costs, what is known before it is trained, and its runs.

    ``signals`` are its scores without training on the validation images and the zero-cost proxies, ``embedding`` the
    mean of its node states.
    """

    genotype: Genotype
    costs: Costs
    signals: dict[str, float]
    embedding: tuple[float, ...]
    runs: tuple[Run, ...]

    @property
    def score(self) -> Score:
        """With predicted parameters."""
        return Score(self.signals["top1"], self.signals["loss"], self.signals["margin"])

    def of(self, start: str, steps: int) -> list[Run]:
        """The runs of this start and length, by seed."""
        return [run for run in self.runs if (run.start, run.steps) == (start, steps)]


@dataclass(frozen=True)
class BenchmarkTable:
    """A table: the settings it was made with, the steps of an epoch, and its entries."""

    settings: dict[str, Any]
    epoch: int
    entries: tuple[Entry, ...]

    @property
    def batch(self) -> int:
        """Images of a step."""
        return Recipe.from_json({"steps": 1, **self.settings.get("recipe", {})}).batch


def save_table(folder: Path, table: BenchmarkTable) -> Path:
    """Write a table as compressed JSON lines, settings first; the same bytes for the same table."""
    rows: list[dict[str, Any]] = [{"settings": table.settings, "epoch": table.epoch}]
    for entry in table.entries:
        plain = {"signals": entry.signals, "embedding": entry.embedding, "runs": [_told(run) for run in entry.runs]}
        rows.append({"genotype": entry.genotype.to_json(), "costs": asdict(entry.costs), **plain})
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    write_bytes(folder / TABLE, gzip.compress(text.encode(), mtime=0))
    return folder / TABLE


def _told(run: Run) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if value != ()}


def load_table(path: Path) -> BenchmarkTable:
    """Read a table.

    Raises:
        QnasError: the file is missing or damaged.
    """
    with reading(path, "a benchmark table", f"make one with `qnas.benchmark_table(out={str(path.parent)!r})`"):
        head, *rows = parse_rows(unzipped(path, MOST_JSON))[0]
        return BenchmarkTable(dict(head["settings"]), int(head["epoch"]), tuple(_entry(row) for row in rows))


def _entry(row: dict[str, Any]) -> Entry:
    runs = tuple(Run(**{**run, "losses": tuple(run.get("losses", ()))}) for run in row["runs"])
    genotype = Genotype.from_json(row["genotype"])
    return Entry(genotype, Costs(**row["costs"]), row["signals"], tuple(row["embedding"]), runs)
