"""Tables: for people on stdout, and as CSV."""

import csv
import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from qnas.data.folder import LONGEST_SIDE
from qnas.data.survey import PARTS, Survey
from qnas.errors import printable_lines
from qnas.studies.ghn_tables import Row
from qnas.studies.paper import PAPER

if TYPE_CHECKING:
    from qnas.studies.proxy import ProxyRow

SPARE = (
    "activation bytes", "MACs", "M instructions", "params", "score", "RAM bytes", "flash bytes",
    "weight bytes", "estimate",
    "QCE", "QMSE", "top-5 %", "paper, CIFAR-10", "n", "drop (max)", "@5", "@10", "best tenth", "ρ top fifth", "ρ",
    "next",
)  # fmt: skip
"""Columns that a narrow terminal does without, the least needed first."""


class Plain(Console):
    """A console that takes texts, which may be of strangers, for nothing but letters: no markup, no escapes."""

    def render_str(self, text: str, *args: Any, **options: Any) -> Text:
        """A text as it stands there."""
        return super().render_str(printable_lines(text), *args, **options)


def plain_console(width: int | None = None) -> Plain:
    """A console on stdout."""
    return Plain(width=width, markup=False, emoji=False)


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as CSV; what a row lacks stays empty."""
    kept = list(rows)
    names = list(dict.fromkeys(name for row in kept for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    return text.getvalue()


def show(table: Table) -> None:
    """Print a table; as wide as it needs to be where stdout is no terminal."""
    console = plain_console()
    if not console.is_terminal:
        console = plain_console(160)
    console.print(narrowed(table, console.width))


def narrowed(table: Table, width: int) -> Table:
    """A table that is too wide with its heads broken and, if it must, without ``SPARE`` columns, as it then says."""
    left_out: list[str] = []
    if _wanted(table) > width:
        for column in table.columns:
            column.header = str(column.header).replace(" ", "\n")
    for header in SPARE:
        if _wanted(table) <= width:
            break
        kept = [column for column in table.columns if str(column.header).replace("\n", " ") != header]
        left_out += [header] * (len(table.columns) - len(kept))
        table.columns = kept
    if left_out:
        table.caption = f"{table.caption or ''}\nA wider window also shows: {', '.join(left_out)}.".lstrip()
    return table


def _wanted(table: Table) -> int:
    """The width at which no cell is broken."""
    unbounded = plain_console(10_000)
    return Measurement.get(unbounded, unbounded.options, table).maximum


def ghn_table(rows: list[Row], title: str) -> Table:
    """One line per split and bit widths: top-1, its drop by rounding, QMSE, top-5, and the paper's best top-1.

    Means are given with their standard errors, maxima in brackets.
    """
    table = Table(
        "split", "bits", "n", "top-1 % (max)", "paper, CIFAR-10", "top-5 %", "drop (max)", "QMSE", "QCE", title=title
    )
    for row in rows:
        paper = PAPER.get((row.split, row.bits))
        table.add_row(
            row.split,
            row.bits,
            str(row.n),
            f"{row.top1_mean:.1f} ± {row.top1_sem:.1f} ({row.top1_max:.1f})",
            f"{paper.top1} ({paper.top1_max})" if paper else "",
            f"{row.top5_mean:.1f} ± {row.top5_sem:.1f}",
            f"{row.drop_mean:.1f} ± {row.drop_sem:.1f} ({row.drop_max:.1f})",
            f"{row.qmse_mean:.3g} ± {row.qmse_sem:.2g}",
            f"{row.qce_mean:.3g} ± {row.qce_sem:.2g}",
        )
    table.caption = "paper: Yun and Wong's best of tables 3 to 5, on CIFAR-10; drop, QMSE, QCE: what rounding does"
    return table


def proxy_table(rows: "list[ProxyRow]", title: str) -> Table:
    """One line per bit widths and score, the calibrated score first and the baselines after it."""
    table = Table(
        "bits",
        "score",
        "n",
        "τ (95 % interval)",
        "ρ",
        "ρ top fifth",
        "regret@1",
        "@5",
        "@10",
        "best tenth",
        title=title,
    )
    for row in rows:
        for name, found in row.scores.items():
            table.add_row(
                row.bits,
                name,
                str(found.n),
                f"{found.tau:.2f} ({found.tau_low:.2f} to {found.tau_high:.2f})",
                f"{found.rho:.2f}",
                f"{found.rho_top:.2f}",
                *(f"{regret:.1f}" for regret in (found.regret1, found.regret5, found.regret10)),
                f"{100 * found.precision:.0f} %",
            )
        if row.ceiling is not None:
            table.add_row(row.bits, "truth, another seed", str(row.n), f"{row.ceiling:.2f}", end_section=True)
    labels = rows[0].labels if rows else 0
    table.caption = (
        f"calibrated, outlook, outlook_and_losses, graph_regression, forest: told {labels} short runs, "
        "judged on the others, 20 times; regret: points below the best network; "
        "best tenth: share of the picks that are in it"
    )
    return table


def data_table(found: Survey, typed: Callable[[str], str] = str) -> Table:
    """One line a class with its images in every part, and below it what else there is to know.

    Args:
        found: what the data hold.
        typed: writes an argument between backticks as its reader types it.
    """
    channels, height, width = found.image
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    title = f"{found.data}: {kind}, {height}x{width} pixels (height x width)"
    table = Table("class", *PARTS, title=title, caption_justify="left")
    for place, name in enumerate(found.classes):
        table.add_row(name, *(f"{found.counts[part][place]:,}" for part in PARTS))
    table.add_section()
    table.add_row("all", *(f"{sum(found.counts[part]):,}" for part in PARTS))
    table.add_row("also in an earlier column", *(f"{found.repeated[part]:,}" for part in PARTS))
    notes = [
        f"Always guessing the commonest class is right for {found.majority:.1f} % of the test images; the largest "
        f"class has {found.imbalance:.1f} times as many training images as the smallest."
    ]
    if found.sizes:
        sizes = ", ".join(f"{height}x{width}" for width, height in found.sizes)
        modes = ", ".join(f"{count:,} {mode}" for mode, count in found.modes.items())
        notes.append(f"Files, smallest, median and largest height and width: {sizes}; kinds of pixels: {modes}.")
        notes.append(
            typed(
                f"Images get the medians, in proportion at most {LONGEST_SIDE}; another height and width: "
                f"`image='{max(8, height // 2)}x{max(8, width // 2)}'`."
            )
        )
    table.caption = "\n".join([*notes, *found.remarks])
    return table
