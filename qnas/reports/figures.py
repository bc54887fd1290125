"""Figures as SVG files: hypernetworks beside the paper's, training curves, scores beside truths, initializers."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qnas.errors import printable
from qnas.runs.files import read_rows, write_bytes
from qnas.studies.ghn_tables import Row
from qnas.studies.paper import PAPER
from qnas.studies.proxy import SHOWN, ProxyRow

if TYPE_CHECKING:
    from qnas.studies.init_study import InitStudy

NAMES = {"id": "in distribution", "deep": "deep", "wide": "wide", "bn_free": "without batch norm"}


def _as_it_stands(text: str) -> str:
    """A text that may be of strangers, without escapes, and with dollars that begin no formula."""
    return printable(text).replace("$", r"\$")


def save(figure: Figure, path: Path) -> None:
    """Write a figure, of the kind that the file's name ends with: ``.png``, else SVG."""
    buffer, png = io.BytesIO(), path.suffix == ".png"
    figure.savefig(buffer, format="png" if png else "svg", dpi=120, metadata=None if png else {"Date": None})
    write_bytes(path, buffer.getvalue())


def save_both(figure: Figure, path: Path) -> list[Path]:
    """Save a figure as SVG, and as PNG beside it."""
    both = [path, path.with_suffix(".png")]
    for one in both:
        save(figure, one)
    return both


def ghn_figure(rows: list[Row], title: str, path: Path) -> None:
    """Top-1 of every split against the bit widths: mean, two standard errors, maximum, and the paper's mean."""
    splits = list(dict.fromkeys(row.split for row in rows))
    figure = Figure(figsize=(3.2 * len(splits) + 0.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(splits), sharey=True, squeeze=False)[0]
    for axes, split in zip(panels, splits, strict=True):
        own = [row for row in rows if row.split == split]
        places = range(len(own))
        errors = [2 * row.top1_sem for row in own]
        axes.errorbar(places, [row.top1_mean for row in own], errors, fmt="o-", capsize=3, label="mean ± 2 SEM")
        axes.plot(places, [row.top1_max for row in own], "^", color="C0", alpha=0.5, label="best network")
        known = [(place, PAPER[split, row.bits].top1) for place, row in enumerate(own) if (split, row.bits) in PAPER]
        axes.plot(*zip(*known, strict=True) if known else ((), ()), "s--", color="C1", label="Yun and Wong, CIFAR-10")
        axes.set_xticks(list(places), [row.bits.upper() for row in own])
        axes.set_title(f"{NAMES.get(split, split)}, n = {own[0].n}")
        axes.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("top-1 accuracy, %")
    panels[0].set_ylim(0, 103)
    panels[0].legend(loc="lower left", fontsize="small")
    figure.suptitle(_as_it_stands(title))
    save(figure, path)


def training_figure(metrics: Path, path: Path) -> None:
    """Loss and accuracy of the training batches against the step; the start of the quantized phase is marked."""
    rows = read_rows(metrics)
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 2))
    steps = [row["step"] for row in rows]
    quantized = [row["step"] for row in rows if row["phase"] == "quantized"]
    for axes, key, label in zip(panels, ("loss", "accuracy"), ("cross-entropy", "accuracy, %"), strict=True):
        values = [row[key] for row in rows]
        axes.plot(steps, values, linewidth=1)
        if len(values) > 1:
            low, high = np.percentile(values, [0, 98])  # a step of a bad network may tower above the curve
            axes.set_ylim(low - 0.05 * (high - low) - 0.01, high + 0.15 * (high - low) + 0.01)
        if quantized and quantized[0] != steps[0]:
            axes.axvline(quantized[0], color="C1", linestyle="--", label="quantization-aware from here")
            axes.legend(fontsize="small")
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    save(figure, path)


def proxy_figure(rows: list[ProxyRow], title: str, path: Path) -> None:
    """The truth of every network against its score, a column for each pair of bit widths, a row for each score."""
    figure = Figure(figsize=(3.2 * len(rows) + 0.6, 6.4), layout="constrained")
    panels = figure.subplots(len(SHOWN), len(rows), squeeze=False)
    for column, row in enumerate(rows):
        for place, name in enumerate(SHOWN):
            axes: Axes = panels[place][column]
            axes.plot(row.points[name], row.points["truth"], ".", alpha=0.6)
            axes.set_xlabel(f"{name} score, %")
            axes.set_title(f"{row.bits.upper()}, τ = {row.scores[name].tau:.2f}, n = {row.scores[name].n}")
            axes.grid(alpha=0.3)
    for place in range(len(SHOWN)):
        panels[place][0].set_ylabel("trained, test accuracy, %")
    figure.suptitle(_as_it_stands(title))
    save(figure, path)


def decrease_figure(study: "InitStudy", path: Path) -> list[Path]:
    """Per cent decrease of every initializer, a panel for each network; crosses mark what diverged or only guesses.

    Args:
        study: of initializers.
        path: of an SVG file; a PNG file comes beside it.

    Returns:
        Both files.
    """
    blocks, names = study.settings.blocks, study.settings.initializers
    figure = Figure(figsize=(2.6 * len(blocks) + 1.8, 0.28 * len(names) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    for axes, block in zip(panels, blocks, strict=True):
        for run in study.runs:
            place = names.index(run.initializer)
            if run.block == block and run.trained:
                axes.plot(run.quantized["quint8"].decrease, place, "o", color="C0", alpha=0.6)
                axes.plot(run.quantized["w4a4"].decrease, place, "s", color="C1", alpha=0.6, markersize=4)
            elif run.block == block:
                axes.plot(0.97, place, "x", color="C3", transform=axes.get_yaxis_transform(), clip_on=False)
        axes.set_title(block, fontsize="small")
        axes.set_xlabel("decrease, %")
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(len(names)), names, fontsize="small")
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    marks = [("o", "C0", "QUINT8"), ("s", "C1", "W4A4"), ("x", "C3", "diverged or at chance")]
    handles = [Line2D([], [], color=color, marker=mark, linestyle="", label=label) for mark, color, label in marks]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle(_as_it_stands(study.title), fontsize="small")
    return save_both(figure, path)


def spans_figure(study: "InitStudy", block: str, path: Path) -> list[Path]:
    """What the layers of one network span, from first to last, a line for each initializer: means over seeds.

    As the paper's figures 3 to 5: folded weights, their channels' precision, activations.

    Args:
        study: of initializers.
        block: whose layers.
        path: of an SVG file; a PNG file comes beside it.

    Returns:
        Both files; none where no run of the network counts.
    """
    runs = [run for run in study.runs if run.block == block and run.trained]
    if not runs:
        return []
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, 3))
    kinds = (("weight", "range of folded weights"), ("precision", "precision"), ("activation", "range of activations"))
    for axes, (what, label) in zip(panels, kinds, strict=True):
        for number, name in enumerate(study.settings.initializers):
            own = [[getattr(layer, what) for layer in run.layers] for run in runs if run.initializer == name]
            if own:
                style = ("-", "--", ":")[number // 5]
                axes.plot(np.mean(own, axis=0), style, marker=".", color=f"C{number % 5}", label=name)
        axes.set_yscale("linear" if what == "precision" else "log")
        names = [layer.name.replace("stage", "s").replace("block", "b") for layer in runs[0].layers]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize="x-small")
        axes.set_title(label, fontsize="small")
        axes.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="x-small")
    figure.suptitle(_as_it_stands(f"{block}: {study.title}"), fontsize="small")
    return save_both(figure, path)
