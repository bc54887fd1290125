"""A study of initializers as a whole: its runs, a row for every network and initializer, and what follows from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from qnas.studies.findings import Finding, findings_of
from qnas.studies.ghn_tables import summarise
from qnas.studies.init_runs import Quantized, Run
from qnas.studies.init_settings import WIDTHS, InitSettings

MEASURES = ("fp32", *(f"{name}_{measure}" for name in WIDTHS for measure in Quantized._fields))
"""What a run reaches: float accuracy, then accuracy, per cent decrease, QMSE and QCE at each of ``WIDTHS``."""


@dataclass(frozen=True)
class Row:
    """One network and initializer over seeds.

    Args:
        block: see ``InitSettings``.
        initializer: likewise.
        n: runs that count.
        diverged: runs that are left out of the means, because their loss became no number.
        chance: likewise, because they only guess.
        means: of each of ``MEASURES`` with the standard error; nothing where no run counts.
    """

    block: str
    initializer: str
    n: int
    diverged: int
    chance: int
    means: dict[str, tuple[float, float]]

    @property
    def flat(self) -> dict[str, Any]:
        """One value a column."""
        pairs = {key: value for key, value in asdict(self).items() if key != "means"}
        for name, (mean, error) in self.means.items():
            pairs |= {f"{name}_mean": mean, f"{name}_sem": error}
        return pairs


@dataclass(frozen=True)
class InitStudy:
    """A study: settings, every run, a row for every network and initializer, and statements that hold or do not."""

    settings: InitSettings
    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        """What it is of."""
        protocol, settings = self.settings.protocol, self.settings
        shrink = f", images {settings.shrink} times smaller" if settings.shrink > 1 else ""
        return (
            f"{settings.data}, width {settings.width}, epochs: {protocol.epochs:g}, batches of {protocol.batch}{shrink}"
            f", seeds: {settings.seeds}; quantized after training"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values: settings, findings, rows and runs."""
        return {
            "settings": self.settings.identity(),
            "findings": [asdict(finding) for finding in self.findings],
            "rows": [row.flat for row in self.rows],
            "runs": [plain(run) for run in self.runs],
        }


def study_of(settings: InitSettings, runs: Sequence[Run], seed: int = 0) -> InitStudy:
    """The study of these runs; ``seed`` is of resampling."""
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.block, run.initializer), []).append(run)
    places = [(block, name) for block in settings.blocks for name in settings.initializers]
    rows = tuple(row_of(*place, cells[place]) for place in places)
    return InitStudy(settings, tuple(runs), rows, tuple(findings_of(runs, seed)))


def row_of(block: str, initializer: str, runs: Sequence[Run]) -> Row:
    """The row of these runs; those that diverged or guess are counted and do not enter its means."""
    good = [measures_of(run) for run in runs if run.trained]
    means = {name: summarise([one[name] for one in good])[:2] for name in MEASURES} if good else {}
    diverged, chance = (sum(run.status == status for run in runs) for status in ("diverged", "chance"))
    return Row(block, initializer, len(good), diverged, chance, means)


def measures_of(run: Run) -> dict[str, float]:
    """What a run reaches, by ``MEASURES``; nothing where it diverged."""
    found = {} if run.fp32 is None else {"fp32": run.fp32}
    for name, score in run.quantized.items():
        found |= {f"{name}_{measure}": value for measure, value in score._asdict().items()}
    return found


def plain(run: Run) -> dict[str, Any]:
    """A run as plain values."""
    layers = [layer._asdict() for layer in run.layers]
    names = {"block": run.block, "initializer": run.initializer, "seed": run.seed, "status": run.status}
    return {**names, **measures_of(run), "layers": layers}
