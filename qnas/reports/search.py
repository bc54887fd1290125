"""The result of a search: a table of the picks, and what to run next."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from qnas.exporters.parity import Parity
from qnas.exporters.registry import MODEL
from qnas.exporters.winner import model_bytes, read_manifest
from qnas.nas.picks import winner_of
from qnas.nas.result import read_result
from qnas.reports.tables import show

PAGE = "report.html"
"""The page of a run, in its folder (``qnas.reports.page``)."""
WEAKEST = 3
"""Classes that are named."""
COSTS = {"params": "params", "macs": "MACs", "weight_bytes": "weight bytes", "activation_bytes": "activation bytes"}


Typed = Callable[[str], str]
"""Writes a call between backticks as its reader types it."""


def print_result(folder: Path, as_json: bool, typed: Typed = str) -> None:
    """Print the result of a finished run, and where its winner lies."""
    result = read_result(folder)
    winner = winner_of(folder)
    manifest = read_manifest(winner)
    if as_json:
        facts = {"folder": str(folder), "screened": result["screened"], "calibration": result["calibration"]}
        print(json.dumps({**facts, "pareto": result["pareto"], "picks": result["picks"], "parity": manifest["parity"]}))
        return
    show(picks_table(result))
    if result["calibration"]:
        print(trust_line(result["calibration"]))
    parity, model = Parity.from_json(manifest["parity"]), winner / manifest.get("model", MODEL)
    print(
        f"Winner: {model} ({model_bytes(manifest):,} bytes). In {parity.runtime}: "
        f"{parity.runtime_top1:.2f} % of {parity.images} validation images right, in torch "
        f"{parity.torch_top1:.2f} %, the same class for {parity.same_class:.2f} %."
    )
    if "validation" in manifest:
        print(classes_line(manifest["validation"], manifest["images"]["classes"]))
    if (folder / PAGE).is_file():
        print(f"Report: {folder / PAGE}")
    print(typed(f"Next: `qnas.show({str(folder)!r})`"))


def classes_line(found: dict[str, Any], names: list[str]) -> str:
    """How a network does on its classes, the weakest first, and in words where it does no better than guessing."""
    known = [(recall, name) for recall, name in zip(found["recall"], names, strict=True) if recall is not None]
    weakest = ", ".join(f"{name} {recall:.1f} %" for recall, name in sorted(known)[:WEAKEST])
    line = (
        f"Classes: balanced accuracy {found['balanced']:.1f} %, weakest {weakest}; always guessing the commonest is "
        f"right for {found['majority']:.1f} %."
    )
    return (
        f"{line} The network does no better than guessing: give it more time or images." if found["at_chance"] else line
    )


def trust_line(calibration: dict[str, Any]) -> str:
    """How far a run's own short runs say that its estimates can be trusted."""
    tau, params, labels = (calibration[key] for key in ("tau", "tau_params", "labels"))
    line = f"Trust: over {labels} short runs that they did not know, estimates rank with Kendall's tau {tau:.2f}; "
    line += f"the number of parameters alone with {params:.2f}."
    return line if tau > params else f"{line} They are no better than size here: go by the trained accuracies."


def picks_table(result: dict[str, Any]) -> Table:
    """One line a pick: accuracies in per cent, then costs."""
    calibration = result["calibration"]
    title = f"top picks of {result['screened']} screened networks"
    if calibration:
        error, labels = calibration["mean_absolute_error"], calibration["labels"]
        title += f"; estimates are off by {error:.1f} points on average ({labels} short runs that they did not know)"
    run = "a full run" if calibration and calibration.get("estimates") == "full runs" else "a short run"
    caption = (
        f"score: predicted parameters; estimate: after {run}; both, and trained, on validation images. "
        "test: held-out test images, read once."
    )
    if result["pareto"]:
        caption += f" front: no other pick is better in accuracy or {', '.join(result['pareto'])} without being worse."
    timed = any(pick["latency"] for pick in result["picks"])
    costs = [*COSTS, *(["latency"] if timed else [])]
    columns = ["", "network", "score", "estimate", "trained", "test", *(COSTS[key] for key in COSTS)]
    columns += (["ms"] if timed else []) + (["front"] if result["pareto"] else [])
    table = Table(*columns, title=title, caption=caption)
    for place, pick in enumerate(result["picks"], 1):
        trained = pick["trained"][max(pick["trained"], key=int)]
        accuracies = [pick["score"], pick["estimate"], trained, pick["test"]]
        shown = ["-" if value is None else f"{value:.1f}" for value in accuracies]
        row = [str(place), pick["key"], *shown, *(f"{pick[key]:,}" for key in costs)]
        table.add_row(*row, *(["yes" if pick["front"] else "no"] if result["pareto"] else []))
    return table
