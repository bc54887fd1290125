"""A network as a picture: its layers one below the other, and lines that show what reads what."""

from dataclasses import dataclass
from pathlib import Path

from qnas.exporters.templates import templates_in
from qnas.network.plan import Node, Plan
from qnas.quant.scheme import FLOAT

DRAWING = "network.svg"
ROW, TOP, LETTER = 22, 34, 7.2
"""Pixels of a row, of what is above the first, and of a letter, about."""


@dataclass(frozen=True)
class Drawing:
    """How the nodes of a plan are joined, drawn beside a list of them: a node stands at x = 0, y = its place + 0.5."""

    width: float
    height: int
    paths: list[str]


def drawing(plan: Plan) -> Drawing:
    """Lines between neighbours, and arcs on the left of them, each in the first lane that is free on its way."""
    edges = {(source, place) for place, node in enumerate(plan.nodes) for source in node.inputs}
    lanes: list[list[tuple[int, int]]] = []
    paths = []
    for first, last in sorted(edges, key=lambda edge: (edge[1] - edge[0], edge)):
        if last == first + 1:
            paths.append(f"M0 {first + 0.5}V{last + 0.5}")
            continue
        free = (lane for lane, taken in enumerate(lanes) if all(last <= a or b <= first for a, b in taken))
        lane = next(free, len(lanes))
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append((first, last))
        x = -0.6 * (lane + 1)
        paths.append(f"M0 {first + 0.5}Q{x:g} {first + 0.5} {x:g} {first + 1}V{last}Q{x:g} {last + 0.5} 0 {last + 0.5}")
    return Drawing(0.6 * (len(lanes) + 1), len(plan.nodes), paths)


def does(node: Node) -> str:
    """A layer in words."""
    name = {"conv": "convolution", "global_avg": "global average"}.get(node.kind, node.kind.replace("_", " "))
    words = [f"{node.kernel} x {node.kernel} {name}" if node.kind in ("conv", "max_pool", "avg_pool") else name]
    words += [f"{name} {getattr(node, name)}" for name in ("stride", "dilation") if getattr(node, name) > 1]
    words += ["depthwise" if node.groups == node.channels_in else f"{node.groups} groups"] if node.groups > 1 else []
    return ", ".join([*words, *(["ReLU"] if node.relu else [])])


def output_bits(plan: Plan, node: Node) -> int:
    """How many bits the values have that a layer gives; a max pool hands on its own input's."""
    while node.kind == "max_pool":
        node = plan.nodes[node.inputs[0]]
    return node.bits.activations if node.quantized else FLOAT


def as_svg(plan: Plan, title: str) -> str:
    """A plan as the text of an SVG file: of every layer its name, what it does, the shape of its output, and bits."""
    drawn = drawing(plan)
    table = [
        (
            node.name, does(node), " x ".join(map(str, node.shape)),
            str(node.bits.weights) if node.kind in ("conv", "linear") else "",
            str(output_bits(plan, node)),
        )
        for node in plan.nodes
    ]  # fmt: skip
    heads = ("layer", "does", "output", "W", "A")
    left, places = ROW * drawn.width, []
    right = left + ROW
    for column in zip(heads, *table, strict=True):
        places.append(round(right))
        right += LETTER * max(map(len, column)) + ROW
    rows = [(TOP + ROW * place + ROW / 2 + 4, list(zip(places, one, strict=True))) for place, one in enumerate(table)]
    return templates_in(Path(__file__).parent).get_template("drawing.jinja").render(
        title=title, width=round(right), height=TOP + ROW * (drawn.height + 1), left=left, top=TOP, row=ROW,
        paths=drawn.paths, heads=list(zip(places, heads, strict=True)), rows=rows,
    )  # fmt: skip
