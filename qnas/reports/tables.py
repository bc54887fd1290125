"""Tables for people, on stdout."""

from rich.console import Console
from rich.table import Table

from qnas.evaluation.ghn_tables import Row


def show(table: Table) -> None:
    """Print a table; as wide as it needs to be where stdout is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def ghn_table(rows: list[Row], title: str) -> Table:
    """Mean ± standard error and maximum of top-1, mean of top-5, one line per split and bit widths."""
    table = Table("split", "bits", "n", "top-1 %", "max", "top-5 %", title=title)
    for row in rows:
        first = f"{row.top1_mean:.1f} ± {row.top1_sem:.1f}"
        five = f"{row.top5_mean:.1f} ± {row.top5_sem:.1f}"
        table.add_row(row.split, row.bits, str(row.n), first, f"{row.top1_max:.1f}", five)
    return table
