"""The steps of a network in integers as far as its plan says them, before it has any numbers. Imports no torch."""

from dataclasses import dataclass

from qnas.network.plan import Kind, Node, Plan
from qnas.task import Shape

LOGIT_BITS = 32


@dataclass(frozen=True)
class Outline:
    """What a step makes, and of what.

    Args:
        name: of its layer; a sum for a concatenation carries that one's name too.
        position: of its node in the plan.
        reader: position of the concatenation that it makes a sum for; ``None`` for what all readers read.
        node: of the plan, for its kind, shape, kernel, stride, dilation and groups.
        inputs: places of earlier steps.
        bits: of its output; 32 for logits.
    """

    name: str
    position: int
    reader: int | None
    node: Node
    inputs: tuple[int, ...]
    bits: int

    @property
    def kind(self) -> Kind:
        """Of its node; but a linear layer between others is a convolution of the one pixel that is left."""
        return "conv" if self.node.kind == "linear" and self.bits < LOGIT_BITS else self.node.kind

    @property
    def shape(self) -> Shape:
        """(channels, height, width) of its output."""
        return self.node.shape


def outline(plan: Plan) -> list[Outline]:
    """The steps of a quantized plan in order, the first the image, the last the logits.

    A sum that a concatenation reads unrounded is made for that one alone, on its grid, and once more if others read it.
    """
    readers: dict[int, list[int]] = {}
    for one, node in enumerate(plan.nodes):
        for source in dict.fromkeys(node.inputs):
            readers.setdefault(source, []).append(one)
    places, steps = dict[tuple[int, int | None], int](), list[Outline]()
    for position, node in enumerate(plan.nodes):
        read = readers.get(position, [])
        apart: list[int | None] = [one for one in read if node.handed_on and plan.nodes[one].kind == "concat"]
        for reader in [*([None] if not apart or len(apart) < len(read) else []), *apart]:
            inputs = tuple(places.get((source, position), places.get((source, None), 0)) for source in node.inputs)
            gridded = node if reader is None else plan.nodes[reader]
            bits = gridded.bits.activations if gridded.quantized else LOGIT_BITS
            if node.kind == "max_pool":
                bits = steps[inputs[0]].bits
            name = node.name if reader is None else f"{node.name} for {gridded.name}"
            places[position, reader] = len(steps)
            steps.append(Outline(name, position, reader, node, inputs, bits))
    return steps
