"""A study of initializers for people and machines: the tables as CSV, JSON and Markdown, a summary, figures."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.table import Table

from qnas.reports.figures import decrease_figure, spans_figure
from qnas.reports.tables import as_csv
from qnas.runs.files import write_bytes, write_json
from qnas.studies.findings import verdicts
from qnas.studies.init_settings import WIDTHS
from qnas.studies.init_study import MEASURES, InitStudy, Row, measures_of

COLUMNS = {
    "fp32": "FP32 %", "quint8_top1": "QUINT8 %", "quint8_decrease": "decrease %", "quint8_qmse": "QMSE",
    "quint8_qce": "QCE", "w4a4_top1": "W4A4 %", "w2a2_top1": "W2A2 %",
}  # fmt: skip
"""The measures that people are shown: those of the paper's tables 1 and 2, and accuracies at fewer bits."""
BITS = "quint8"
"""The bit widths that people are shown findings of; files have all."""


def write_study(study: InitStudy, folder: Path) -> list[Path]:
    """Write all tables and figures of a study into its folder.

    Returns:
        The files.
    """
    files = {
        "runs.csv": as_csv(run_columns(study)),
        "table.csv": as_csv([row.flat for row in study.rows]),
        "findings.csv": as_csv([vars(finding) for finding in study.findings]),
        "study.md": as_markdown(study),
    }
    for name, text in files.items():
        write_bytes(folder / name, text.encode())
    write_json(folder / "study.json", study.to_json())
    drawn = decrease_figure(study, folder / "decrease.svg")
    for block in study.settings.blocks:
        drawn += spans_figure(study, block, folder / f"layers-{block}.svg")
    return [folder / name for name in (*files, "study.json")] + drawn


def run_columns(study: InitStudy) -> list[dict[str, Any]]:
    """One row a run: what it reaches, and what its first layers span."""
    rows = []
    for run in study.runs:
        names = {"block": run.block, "initializer": run.initializer, "seed": run.seed, "status": run.status}
        early = {f"early_{what}": run.early(what) for what in ("weight", "precision", "activation") if run.layers}
        rows.append({**names, **dict.fromkeys(MEASURES), **measures_of(run), **early})
    return rows


def cells_of(row: Row) -> list[str]:
    """A row as people read it: means with their standard errors, and in words what is left out."""
    failed = [f"{count} {word}" for count, word in ((row.diverged, "diverged"), (row.chance, "at chance")) if count]
    if not row.n:
        return [row.block, row.initializer, "0", *["-"] * len(COLUMNS), ", ".join(failed)]
    shown = [number(*row.means[name], row.n) for name in COLUMNS]
    return [row.block, row.initializer, str(row.n), *shown, ", ".join(failed)]


def number(mean: float, error: float, count: int) -> str:
    """A mean with its standard error, which a single run does not have."""
    large = abs(mean) >= 10
    text = f"{mean:.1f}" if large else f"{mean:.2g}"
    return text if count == 1 else f"{text} ± {error:.1f}" if large else f"{text} ± {error:.1g}"


HEAD = ("block", "initializer", "n", *COLUMNS.values(), "left out")


def finding_cells(study: InitStudy, bits: str) -> list[list[str]]:
    """The findings at some bit widths as people read them."""
    return [
        [
            one.claim, one.where, f"{one.effect:.2f} ({one.low:.2f} to {one.high:.2f}) {one.unit}", one.n,
            "held" if one.held else "not held", one.note,
        ]
        for one in study.findings
        if one.bits == bits
    ]  # fmt: skip


FINDING_HEAD = ("statement", "where", "effect (95 % interval)", "resampled", "verdict", "note")


def as_markdown(study: InitStudy) -> str:
    """The whole study as a page."""
    parts = [f"# Initializers: {study.title}", "Means ± standard errors over seeds; runs left out are counted."]
    parts.append(_markdown(HEAD, [cells_of(row) for row in study.rows]))
    for bits in WIDTHS:
        parts += [f"## Statements at {bits.upper()}", _markdown(FINDING_HEAD, finding_cells(study, bits))]
    return "\n\n".join(parts) + "\n"


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def study_tables(study: InitStudy) -> list[Table]:
    """What is printed: a line for every network and initializer, and the statements."""
    table = Table(*HEAD, title=study.title)
    for row in study.rows:
        last = row.initializer == study.settings.initializers[-1]
        table.add_row(*cells_of(row), end_section=last)
    table.caption = "means ± standard errors over seeds; runs that diverged or only guess are left out, and counted"
    held = Table("statement", "held in", title=f"Statements of Yun and Wong, at {BITS.upper()}")
    for claim, count, total in verdicts(study.findings, BITS):
        held.add_row(claim, f"{count} of {total}")
    details = Table(*FINDING_HEAD)
    for cells in finding_cells(study, BITS):
        details.add_row(*cells)
    return [table, details, held]
