"""Networks layer by layer, for people: tables of 80 columns, a figure, a verdict in words, files."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from qnas.quant.distribution import Distribution
from qnas.reports.figures import save, save_both
from qnas.reports.tables import as_csv, show
from qnas.runs.files import write_bytes, write_json
from qnas.studies.layers import EVERYWHERE, LayerRow, NetworkLayers, Remedy

LONGEST_NAME = 24
ORIGINS = {
    "trained": "trained at these bit widths",
    "post-training": "rounded after training",
    "predicted": "predicted parameters",
    "random": "random parameters",
}
Form = Literal["table", "json", "csv"]
LOST_BITS = 1.0
"""A mismatch of channels that makes a step for each of them worth a try."""
LEARNED = (
    "It does worse without rounding, which its training has learned: errors alone tell what it relies on, not what it "
    "loses."
)


def flat(network: NetworkLayers) -> list[dict[str, Any]]:
    """One flat row a layer."""
    rows = []
    for row in network.rows:
        plain: dict[str, Any] = {"network": network.network, "layer": row.layer, "kind": row.kind, "bits": row.bits}
        for name, found in (("weight", row.weights), ("activation", row.activations)):
            for key in Distribution.__dataclass_fields__:
                plain[f"{name}_{key}"] = getattr(found, key) if found else None
        for name, effect in (("alone", row.alone), ("sequence", row.sequence)):
            plain |= {f"{name}_{key}": value for key, value in asdict(effect).items()}
        rows.append(plain)
    return rows


def write_layers(networks: Sequence[NetworkLayers], plain: dict[str, Any], folder: Path) -> Path:
    """Write everything into a folder, and return it."""
    write_json(folder / "layers.json", plain)
    rows = [row for network in networks for row in flat(network)]
    write_bytes(folder / "layers.csv", as_csv(rows).encode())
    save_both(_drawn(networks), folder / "layers.svg")
    return folder


def print_layers(networks: Sequence[NetworkLayers], plain: dict[str, Any], form: Form) -> None:
    """Print everything on stdout."""
    if form == "json":
        print(json.dumps(plain))
    elif form == "csv":
        print(as_csv([row for network in networks for row in flat(network)]), end="")
    else:
        for network in networks:
            for table in layer_tables(network):
                show(table)


def layer_tables(network: NetworkLayers) -> list[Table]:
    """What rounding does, how numbers lie and, if it was measured, what helps."""
    tables = [_errors(network), _distributions(network)]
    return [*tables, _remedies(network)] if network.remedies else tables


def _table(network: NetworkLayers, what: str, *columns: str) -> Table:
    title = f"{network.network}, {ORIGINS[network.origin]}: {what}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True, width=80)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place > 1 else "left", no_wrap=place == 0)
    return table


def _errors(network: NetworkLayers) -> Table:
    table = _table(
        network, "errors of rounding", "layer", "bits", "alone\nQMSE", "\nQCE", "\ndrop",
        "up to it\nQMSE", "\nQCE", "\ntop-1",
    )  # fmt: skip
    for row in network.rows:
        alone, sequence = row.alone, row.sequence
        table.add_row(
            short(row.layer), row.bits, f"{alone.qmse:.2g}", f"{alone.qce:.3f}", f"{alone.drop:.1f}",
            f"{sequence.qmse:.2g}", f"{sequence.qce:.3f}", f"{sequence.top1:.1f}",
        )  # fmt: skip
    largest = max(row.alone.drop_error for row in network.rows)
    table.caption = (
        f"{network.images} validation images of {network.data}; top-1 in float {network.float_top1:.1f} %; "
        f"QCE where nothing is rounded {network.entropy:.3f}; drop in points, standard error up to {largest:.1f}"
    )
    return table


def _distributions(network: NetworkLayers) -> Table:
    table = _table(
        network, "ranges", "layer", "bits", "weights\nrange", "\nprec.", "\nmism.",
        "activ.\nrange", "\nprec.", "\nmism.",
    )  # fmt: skip
    for row in network.rows:
        lie = [text for found in (row.weights, row.activations) for text in _texts(found)]
        table.add_row(short(row.layer), row.bits, *lie)
    table.caption = (
        "weights with batch norms folded in; prec.: mean of the channels' ranges over the tensor's; mism.: bits that "
        "the median channel loses to sharing a grid; activations in float, outer 1 % clipped at each end"
    )
    return table


def _texts(found: Distribution | None) -> list[str]:
    return [f"{found.range:.3g}", f"{found.precision:.2f}", f"{found.mismatch:.1f}"] if found else ["", "", ""]


def _remedies(network: NetworkLayers) -> Table:
    table = _table(network, "remedies, without training", "layer", "change", "top-1 %", "gain", "QCE")
    before = ""
    for one in network.remedies:
        layer = "" if one.layer == before else short(one.layer)
        before = one.layer
        table.add_row(layer, one.change, f"{one.top1:.1f}", f"{one.gain:+.1f} ± {one.gain_error:.1f}", f"{one.qce:.3f}")
    now = network.quantized
    table.caption = (
        f"quantized as it is: {now.top1:.1f} %, QCE {now.qce:.3f}; gain in points ± standard error, paired by image; "
        "all layers: the image aside"
    )
    return table


def short(name: str) -> str:
    """A layer's name, its middle left out where it is long."""
    kept = (LONGEST_NAME - 2) // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:kept]}..{name[-kept:]}"


def verdict(network: NetworkLayers) -> str:
    """What a network loses, in which layers most, and what helps: measured, or by how their numbers lie."""
    now, lost = network.quantized, [f"{row.layer} ({row.alone.qce - network.entropy:.2g})" for row in network.worst]
    learned = network.origin == "trained" and network.float_top1 < now.top1
    sentences = [
        f"{network.network}: {network.float_top1:.1f} % in float, {now.top1:.1f} % quantized.",
        LEARNED if learned else "",
        f"Rounded alone these move the classes' probabilities farthest (nats of QCE above float): {', '.join(lost)}.",
        _measured(network) if network.remedies else _likely(network),
        _start(network),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _measured(network: NetworkLayers) -> str:
    one_layer = [one for one in network.remedies if one.layer != EVERYWHERE]
    everywhere = [one for one in network.remedies if one.layer == EVERYWHERE]
    found = [(where, best) for where, some in (("one layer", one_layer), ("all", everywhere)) if (best := _best(some))]
    if not found:
        return "Of the changes that need no training, none helps by two standard errors."
    return f"Changed without training: {'; '.join(f'in {where} {best}' for where, best in found)}."


def _best(remedies: Sequence[Remedy]) -> str:
    """The change that gains most, nothing if that is within two standard errors."""
    best = max(remedies, key=lambda one: one.gain)
    where = "" if best.layer == EVERYWHERE else f" (of {best.layer})"
    known = best.gain > 2 * best.gain_error
    return f"most by {best.change}{where}, {best.gain:+.1f} ± {best.gain_error:.1f} points" if known else ""


def _likely(network: NetworkLayers) -> str:
    worst = network.worst[0]
    edges = {row.layer for row in _edges(network)}
    helps = ["8 bits there" + (" (`edges=8`)" if worst.layer in edges and network.origin == "trained" else "")]
    if worst.weights and network.weights == "tensor" and worst.weights.mismatch >= LOST_BITS:
        helps.append(f"a step a channel (the median channel loses {worst.weights.mismatch:.1f} bits)")
    helps.append("percentile or least-squares ranges")
    return f"What may help {worst.layer}: {', '.join(helps)}; `remedies=True` measures it."


def _edges(network: NetworkLayers) -> list[LayerRow]:
    """The first and the last layer with weights."""
    layers = [row for row in network.rows if row.weights]
    return [layers[0], layers[-1]]


def _start(network: NetworkLayers) -> str:
    if network.origin == "trained":
        return "What another start would give, only another training tells: `qnas.train(network, ghn='NAME', seed=1)`."
    return "More than any of this a training at these bit widths may give: `qnas.train(network)`."


def layers_figure(networks: Sequence[NetworkLayers], path: Path) -> None:
    """Range with precision over it for weights and for activations, errors alone, accuracy in sequence.

    As figures 3 to 6 of the paper, all networks in one: a colour each; ranges are solid, on the left scale, precision
    is dashed, on the right one. ``path`` ends with ``.svg`` or ``.png``.
    """
    save(_drawn(networks), path)


def _drawn(networks: Sequence[NetworkLayers]) -> Figure:
    longest = max(len(network.rows) for network in networks)
    figure = Figure(figsize=(max(7.0, 1.6 + 0.27 * longest), 10.5), layout="constrained")
    weights, activations, alone, sequence = figure.subplots(4, 1, sharex=True)
    for axes, kind in ((weights, "weights"), (activations, "activations")):
        _overlaid(axes, networks, kind)
    for place, network in enumerate(networks):
        colour, places = f"C{place % 10}", range(len(network.rows))
        lost = [max(row.alone.qce - network.entropy, 1e-6) for row in network.rows]
        alone.plot(places, lost, "o-", color=colour, markersize=4, linewidth=1, label=network.network)
        sequence.plot(
            places, [row.sequence.top1 for row in network.rows], "o-", color=colour, markersize=4, linewidth=1
        )
        sequence.axhline(network.float_top1, color=colour, linestyle=":", linewidth=1)
    alone.set_yscale("log")
    alone.set_ylabel("QCE above float,\nlayer alone, nats")
    sequence.set_ylabel("top-1, %, layers up\nto it (dotted: float)")
    for axes in (alone, sequence):
        axes.grid(alpha=0.3)
    _name_layers(sequence, networks, longest)
    handles, labels = alone.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=ceil(len(networks) ** 0.5), fontsize="small")
    return figure


def _overlaid(axes: Axes, networks: Sequence[NetworkLayers], kind: str) -> None:
    right = axes.twinx()
    for place, network in enumerate(networks):
        found = [(x, lies) for x, row in enumerate(network.rows) if (lies := getattr(row, kind))]
        places, colour = [x for x, _ in found], f"C{place % 10}"
        axes.plot(places, [lies.range for _, lies in found], "o-", color=colour, markersize=4, linewidth=1)
        right.plot(
            places, [lies.precision for _, lies in found], "s--", color=colour, markersize=3, linewidth=1, alpha=0.6
        )
    axes.set_yscale("log")
    axes.set_ylabel(f"range of {kind} (solid)")
    right.set_ylabel("precision (dashed)")
    right.set_ylim(0, 1.05)
    axes.grid(alpha=0.3)


def _name_layers(axes: Axes, networks: Sequence[NetworkLayers], longest: int) -> None:
    """Layers by their names where all networks have the same, else by their places."""
    names = [[row.layer for row in network.rows] for network in networks]
    if all(one == names[0] for one in names):
        axes.set_xticks(range(longest), [short(name) for name in names[0]], rotation=90, fontsize="x-small")
    else:
        axes.set_xticks(range(0, longest, ceil(longest / 30)))
        axes.set_xlabel("layer, from the image on")
