"""The picture of a network: every edge is drawn, arcs do not cross each other's lanes, and it is an SVG file."""

import re
from xml.etree import ElementTree

import pytest

from qnas.exporters.drawing import ROW, TOP, as_svg, drawing, output_bits
from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.network.plan import Builder
from qnas.quant.scheme import FP32, Bits
from qnas.task import Task

SVG = "{http://www.w3.org/2000/svg}"


def test_arcs_that_meet_have_lanes_of_their_own() -> None:
    builder = Builder(Task((3, 4, 4), 3), True, FP32)
    a = builder.conv("a", 0, 4, 3)
    b = builder.conv("b", a, 4, 3)
    c = builder.sum("c", a, builder.conv("d", b, 4, 3))
    plan = builder.classifier(builder.sum("e", b, c))
    found = drawing(plan)
    assert found.height == len(plan.nodes) == 8
    edges = {(source, place) for place, node in enumerate(plan.nodes) for source in node.inputs}
    ends = {(float(re.findall(r"[\d.]+", path)[1]), float(re.findall(r"[\d.]+", path)[-1])) for path in found.paths}
    assert ends == {(first + 0.5, last + 0.5) for first, last in edges}
    arcs = [re.match(r"M0 [\d.]+Q(-[\d.]+) ", path) for path in found.paths if "Q" in path]
    assert sorted(float(arc[1]) for arc in arcs if arc) == [-1.2, -0.6]
    assert found.width == pytest.approx(1.8)


def test_a_picture_has_a_row_for_every_layer_and_texts_as_they_stand() -> None:
    plan = build_plan(HandMade("resnet8", 8, Bits(4, 2)), Task((3, 16, 16), 10))
    picture = ElementTree.fromstring(as_svg(plan, "a<b> & c"))
    assert picture[0].text == "a<b> & c"
    texts = [(one.text, float(one.attrib["x"]), float(one.attrib["y"])) for one in picture.iter(f"{SVG}text")]
    rows = {y: [text for text, _, own in texts if own == y] for _, _, y in texts}
    assert [row[0] for row in list(rows.values())[1:]] == [node.name for node in plan.nodes]
    assert rows[TOP + ROW * 1.5 + 4] == ["stem", "3 x 3 convolution, ReLU", "8 x 16 x 16", "4", "2"]
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert max(y for _, _, y in texts) < height
    assert rows[TOP + ROW * (len(plan.nodes) - 0.5) + 4][-2:] == ["4", "32"]
    assert max(x for _, x, _ in texts) < width
    assert len(list(picture.iter(f"{SVG}path"))) == len(drawing(plan).paths)


def test_a_max_pool_has_the_bits_that_it_hands_on() -> None:
    builder = Builder(Task((3, 8, 8), 3), True, Bits(4, 2))
    stem = builder.conv("stem", 0, 4, 3)
    plan = builder.classifier(builder.pool("most", "max_pool", builder.pool("first", "max_pool", stem, 3, 2), 3, 1))
    assert [output_bits(plan, node) for node in plan.nodes] == [8, 2, 2, 2, 2, 32]
