"""Tables for people, on stdout."""

from rich.console import Console
from rich.table import Table

from qnas.studies.ghn_tables import Row
from qnas.studies.paper import PAPER
from qnas.studies.proxy import ProxyRow


def show(table: Table) -> None:
    """Print a table; as wide as it needs to be where stdout is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


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


def proxy_table(rows: list[ProxyRow], title: str) -> Table:
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
        f"calibrated, graph_regression, forest: fitted to {labels} short runs, judged on the others, 20 times; "
        "regret: points below the best network; best tenth: share of the picks that are in it"
    )
    return table
