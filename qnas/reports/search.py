"""The result of a search: a table of the picks, and what to run next."""

import json
import shlex
from collections.abc import Callable
from os.path import isfile  # which holds what may not be read for no file
from pathlib import Path
from typing import Any

from rich.table import Table

from qnas.exporters.card import CARD, PREDICT
from qnas.exporters.manifest import model_bytes, read_manifest
from qnas.exporters.parity import Parity
from qnas.exporters.registry import MODEL
from qnas.nas.picks import winner_of
from qnas.nas.result import read_result
from qnas.reports.tables import show
from qnas.scores.race import MOST_IMAGES

PAGE = "report.html"
"""The page of a run, in its folder (``qnas.reports.page``)."""
WEAKEST, CLASSES = 3, 24
"""Classes that are named, and those that have a line in a table."""
IMBALANCED = 2
UNTRUSTED = "Trust: there were too few short runs to tell how far estimates can be trusted."
COUNTED = {"latency": "ms", "instructions": "M instructions", "flash": "flash bytes", "ram": "RAM bytes"}
"""Costs that are told where somebody asked for them."""
COSTS = {"params": "params", "macs": "MACs", "weight_bytes": "weight bytes", "activation_bytes": "activation bytes"}


Typed = Callable[[str], str]
"""Writes a call between backticks as its reader types it."""


def print_result(folder: Path, as_json: bool, typed: Typed = str) -> None:
    """Print the result of a finished run, and where its winner lies."""
    result = read_result(folder)
    winner = winner_of(folder)
    manifest = read_manifest(winner)
    if as_json:
        facts = {key: result[key] for key in ("screened", "calibration", "pareto", "picks")}
        known = {key: manifest.get(key) for key in ("parity", "validation")}
        print(json.dumps({"folder": str(folder), **facts, **known}))
        return
    show(picks_table(result))
    for line in trusted(result, manifest.get("validation")):
        print(line)
    print(f"Winner: {model_line(winner, manifest)}")
    print_classes(manifest)
    if (folder / PAGE).is_file():
        print(f"Report: {folder / PAGE}")
    others = f"; `qnas.export({str(folder)!r}, pick=2)`" if len(result["picks"]) > 1 else ""
    print(f"{use_line(winner, manifest)}{typed(f'; `qnas.show({str(winner)!r})`{others}')}")


def model_line(folder: Path, manifest: dict[str, Any]) -> str:
    """Where an exported model lies, how large it is, and how it does where it runs."""
    parity = Parity.from_json(manifest["parity"])
    return (
        f"{folder / manifest.get('model', MODEL)} ({model_bytes(manifest):,} bytes; a file holds more than weights). "
        f"In {parity.runtime}: {parity.runtime_top1:.2f} % of {parity.images} validation images right, in torch "
        f"{parity.torch_top1:.2f} %, the same class for {parity.same_class:.2f} %."
    )


def use_line(folder: Path, manifest: dict[str, Any]) -> str:
    """What to do next with a winner: try it on a photo, where a program for that lies beside it."""
    if PREDICT in manifest.get("guides", ()) and isfile(folder / PREDICT):
        return f"Next: python {shlex.quote(str(folder / PREDICT))} photo.jpg"
    return f"Next: {folder / CARD} says how to use {manifest.get('model', MODEL)} and how to prepare images"


def print_classes(manifest: dict[str, Any]) -> None:
    """Print how a winner does on its classes, as its manifest has it, and why it is not exported as was asked for."""
    if failed := manifest.get("failed"):
        print(f"It is not exported as was asked for: {failed}.")
    if "validation" in manifest:
        print(classes_line(manifest["validation"], manifest["images"]["classes"]))
        if is_imbalanced(manifest["validation"]["confusion"]):
            show(mistakes_table(manifest["validation"], manifest["images"]["classes"]))


def leaders_table(rows: list[dict[str, Any]]) -> Table:
    """The best networks of a search that goes on (``qnas.nas.leaders``), one line each."""
    table = Table("network", "accuracy", "training", *COSTS.values(), title="best so far, on validation images")
    for one in rows:
        known = (
            (f"{one['trained']:.1f}", f"{one['steps']:,} steps") if one["steps"] else (f"{one['score']:.1f}", "none")
        )
        table.add_row(one["key"], *known, *(f"{one[key]:,}" for key in COSTS))
    return table


def classes_line(found: dict[str, Any], names: list[str]) -> str:
    """How a network does on its classes, the weakest first, and in words where it does no better than guessing."""
    known = [(recall, name) for recall, name in zip(found["recall"], names, strict=True) if recall is not None]
    weakest = ", ".join(f"{name} {recall:.1f} %" for recall, name in sorted(known)[:WEAKEST])
    line = (
        f"Classes: balanced accuracy {found['balanced']:.1f} %, weakest {weakest}; always guessing the commonest is "
        f"right for {found['majority']:.1f} %."
    )
    table = found["confusion"]
    if found["at_chance"]:
        return f"{line} The network does no better than guessing: give it more time or images."
    if 100 * sum(row[place] for place, row in enumerate(table)) <= found["majority"] * sum(map(sum, table)):
        return f"{line} The network is right no more often than that: go by the balanced accuracy."
    return line


def is_imbalanced(table: list[list[int]]) -> bool:
    """Whether the commonest class of a confusion has ``IMBALANCED`` times as many images as the rarest, or more."""
    counts = [sum(row) for row in table]
    return max(counts) >= IMBALANCED * min(counts)


def mistakes_table(found: dict[str, Any], names: list[str]) -> Table:
    """One line a class, the weakest first: its images, how many of them are recognised, and what others are taken for.

    Args:
        found: what is known of the classes (``qnas.scores.accuracy.by_class`` and its confusion).
        names: of the classes.
    """
    table = Table("class", "images", "right %", "taken for", title="classes on the validation images")
    rows = zip(found["recall"], names, found["confusion"], range(len(names)), strict=True)
    known = sorted(row for row in rows if row[0] is not None)
    for recall, name, counts, own in known[:CLASSES]:
        others = sorted((-count, names[place]) for place, count in enumerate(counts) if count and place != own)
        taken = ", ".join(f"{other} {-count}" for count, other in others[:WEAKEST])
        table.add_row(name, f"{sum(counts):,}", f"{recall:.1f}", taken)
    if len(known) > CLASSES:
        table.caption = f"The weakest {CLASSES} of {len(known)} classes."
    return table


def trusted(result: dict[str, Any], validation: dict[str, Any] | None) -> list[str]:
    """Lines on how far scores and estimates of a run can be trusted.

    Args:
        result: of the run.
        validation: how its winner does on the classes, which says how often guessing is right; if it is known.
    """
    lines = [trust_line(result["calibration"]) if result["calibration"] else UNTRUSTED, *surprises(result, validation)]
    if validation is None:
        return lines
    best = max(one["score"] for one in (*result["picks"], *result["candidates"]))
    share, images = validation["majority"] / 100, min(MOST_IMAGES, sum(map(sum, validation["confusion"])))
    if best == 100 or best > 100 * (share + 2 * (share * (1 - share) / images) ** 0.5):
        return lines
    return [
        *lines,
        f"Scores: the best is {best:.1f} %, not clearly better than always guessing the commonest class "
        f"({validation['majority']:.1f} %): the hypernetwork was no help here.",
    ]


def surprises(result: dict[str, Any], validation: dict[str, Any] | None) -> list[str]:
    """Lines on a winner that did not do what its estimate or a shorter run promised."""
    winner, calibration, lines = result["picks"][0], result["calibration"] or {}, list[str]()
    trained, estimate = winner["trained"][max(winner["trained"], key=int)], winner["estimate"]
    if calibration.get("estimates") == "full runs" and estimate is not None:
        missed, error = trained - estimate, calibration["mean_absolute_error"]
        if abs(missed) > 2 * error:
            how = "low" if missed > 0 else "high"
            lines.append(f"The winner's own estimate was {abs(missed):.1f} points too {how}.")
    shorter = [
        (value, int(steps), one["key"])
        for one in (*result["picks"], *result["candidates"])
        for steps, value in one["trained"].items()
    ]
    best, steps, key = max(shorter)
    if validation is not None and round(best - trained, 1) > 0:
        images = sum(map(sum, validation["confusion"]))
        chance = 2 * (trained * (100 - trained) / images) ** 0.5
        lines.append(
            f"A shorter run reached {best - trained:.1f} points more ({key}, {steps:,} steps); of {images:,} "
            f"validation images, {chance:.1f} points may be chance."
        )
    return lines


def amount(value: float) -> str:
    """A cost for people: whole numbers whole, others with three digits."""
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.3g}"


def trust_line(calibration: dict[str, Any]) -> str:
    """How far a run's own short runs say that its estimates can be trusted."""
    tau, params, labels = (calibration[key] for key in ("tau", "tau_params", "labels"))
    line = f"Trust: over {labels} short runs that they did not know, estimates rank with Kendall's tau {tau:.2f} "
    line += f"(1: in the right order, 0: in none); the number of parameters alone with {params:.2f}."
    if tau <= 0:
        return f"{line} They were no help here: go by the trained accuracies."
    return line if tau > params else f"{line} They are no better than size here: go by the trained accuracies."


def picks_table(result: dict[str, Any]) -> Table:
    """One line a pick: accuracies in per cent, then costs; and one for all other networks that were scored."""
    calibration, others = result["calibration"], result["candidates"]
    title = "top picks"
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
    costs = COSTS | {key: name for key, name in COUNTED.items() if any(pick[key] for pick in result["picks"])}
    columns = ["", "network", "score", "estimate", "trained", "test", *costs.values()]
    columns += ["front"] if result["pareto"] else []
    table = Table(*columns, title=title, caption=caption)
    for place, pick in enumerate(result["picks"], 1):
        trained = pick["trained"][max(pick["trained"], key=int)]
        accuracies = [pick["score"], pick["estimate"], trained, pick["test"]]
        shown = ["-" if value is None else f"{value:.1f}" for value in accuracies]
        row = [str(place), pick["key"], *shown, *(amount(pick[key]) for key in costs)]
        table.add_row(*row, *(["yes" if pick["front"] else "no"] if result["pareto"] else []))
    if others:
        best = [[value for one in others if (value := one[key]) is not None] for key in ("score", "estimate")]
        table.add_section()
        table.add_row(
            "", f"best of {len(others):,} more", *(f"{max(values):.1f}" if values else "-" for values in best)
        )
    return table
