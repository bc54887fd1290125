"""Layers for people: tables of 80 columns, verdicts, figures and files, of networks that are made up."""

import csv
import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from qnas.quant.distribution import Distribution
from qnas.reports.layers import flat, layer_tables, layers_figure, verdict, write_layers
from qnas.reports.tables import as_csv
from qnas.studies.layers import EVERYWHERE, Effect, LayerRow, NetworkLayers, Remedy

CLIPPED = Remedy("layer3", "percentile ranges", 71.0, 1.0, 0.4, 0.9)
NARROW = Remedy("layer3", "8 bits", 75.5, 5.5, 0.6, 0.5)


def made_up(name: str = "net", layers: int = 4, long: bool = False) -> NetworkLayers:
    """The farther from the image, the worse a layer; 80 % in float, 70 % quantized."""
    rows = []
    for place in range(layers):
        kind, worst = ("conv" if place else "input"), Effect(70.0, 10.0, 1.2, 1234567.0, 12.345)
        alone = replace(worst, qce=0.5 + place / 10)
        lies = Distribution(1e3 * (1 + place % 3), 0.5, 1.5, 3.0)
        layer = f"cell10_step0_right_depthwise_{place}" if long else f"layer{place}"
        rows.append(LayerRow(layer, kind, "w4a4", lies if place else None, lies, alone, worst))
    return NetworkLayers(name, "predicted", "digits", 100, "tensor", 80.0, 0.5, rows, [])


def printed(network: NetworkLayers) -> list[str]:
    console = Console(width=160, file=io.StringIO())
    for table in layer_tables(network):
        console.print(table)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("layers", "long"), [(4, False), (30, True)])
def test_tables_fit_80_columns_a_line_a_layer(layers: int, long: bool) -> None:
    remedies = [Remedy("cell10_step0_right_depthwise_3", "least-squares ranges", 70.0, -12.3, 10.1, 123.456)]
    lines = printed(replace(made_up("a_rather_long_name-w4a4", layers, long), remedies=remedies))
    assert max(len(line.rstrip()) for line in lines) <= 80
    named = [line for line in lines if " w4a4 " in line]
    assert len(named) == 2 * layers
    assert not any("…" in line for line in lines)


def test_a_verdict_names_the_worst_layers_and_what_may_help() -> None:
    words = verdict(made_up())
    assert words.startswith("net: 80.0 % in float, 70.0 % quantized.")
    assert "layer3 (0.3), layer2 (0.2), layer1 (0.1)" in words
    assert "What may help layer3: 8 bits there, a step a channel (the median channel loses 1.5 bits)" in words
    assert "`remedies=True` measures it" in words
    assert "`qnas.train(network)`" in words


def test_a_step_a_channel_is_not_advised_where_it_is_there_already() -> None:
    assert "a step a channel" not in verdict(replace(made_up(), weights="channel"))


def test_a_verdict_says_what_was_measured() -> None:
    whole = Remedy(EVERYWHERE, "a step a channel", 70.5, 0.5, 0.4, 0.9)
    words = verdict(replace(made_up(), remedies=[CLIPPED, NARROW, whole]))
    assert "Changed without training: in one layer most by 8 bits (of layer3), +5.5 ± 0.6 points." in words
    none = verdict(replace(made_up(), remedies=[replace(CLIPPED, gain=0.7), whole]))
    assert "none helps by two standard errors" in none


def test_a_network_that_has_learned_its_rounding_is_told_so() -> None:
    learned = replace(made_up(), origin="trained", float_top1=20.0)
    assert "does worse without rounding" in verdict(learned)
    assert "does worse without rounding" not in verdict(replace(learned, float_top1=90.0))
    assert "only another training tells" in verdict(learned)


def test_rows_are_flat_and_read_back_from_csv() -> None:
    rows = flat(made_up())
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert len(read) == 4
    assert list(read[0]) == list(rows[0])
    assert (read[0]["weight_range"], read[1]["weight_range"]) == ("", "2000.0")
    assert (read[3]["alone_qce"], read[3]["sequence_top1"]) == ("0.8", "70.0")


@pytest.mark.parametrize("count", [1, 3])
def test_networks_are_drawn_together_in_four_panels(count: int, tmp_path: Path) -> None:
    networks = [made_up(f"net{place}", 30 - place, long=True) for place in range(count)]
    layers_figure(networks, tmp_path / "layers.svg")
    names = [element.get("id", "") for element in ET.parse(tmp_path / "layers.svg").iter()]
    assert sum(name.startswith("axes_") for name in names) == 4 + 2  # precision has scales of its own
    assert sum(name.startswith("legend_") for name in names) == 1


def test_a_folder_holds_figure_and_tables(tmp_path: Path) -> None:
    network = made_up()
    write_layers([network], {"networks": [network.to_json()]}, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "layers.json", "layers.csv", "layers.svg", "layers.png",
    }  # fmt: skip
    plain = json.loads((tmp_path / "out" / "layers.json").read_text(encoding="utf-8"))
    assert plain["networks"][0]["worst"] == ["layer3", "layer2", "layer1"]
    assert (tmp_path / "out" / "layers.png").read_bytes().startswith(b"\x89PNG")
