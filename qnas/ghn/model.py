"""The graph hypernetwork: from the graphs of any networks to all of their parameters, in one forward pass."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from qnas.devices import sent_to
from qnas.errors import QnasError
from qnas.ghn.config import GHNConfig
from qnas.ghn.decoder import ClassifierDecoder, ConvDecoder, VectorDecoder, fan_in_factor, tile
from qnas.ghn.gather import corners, gathered
from qnas.ghn.sweep import GatedSweeps, schedule
from qnas.graph.encoding import batch_graphs, encode, ghn_2_features
from qnas.graph.vocabulary import BIT_WIDTHS, CHANNELS, KERNELS, LONGEST_PATH, PRIMITIVES, SIDES
from qnas.network.plan import CLASSIFIER, Plan, Slot
from qnas.network.tiles import first_tiles_suffice
from qnas.quant.grid import Sharing

Predicted = dict[str, Tensor]
Shape = tuple[int, ...]
PLACES = (len(SIDES), LONGEST_PATH + 1, LONGEST_PATH + 1)
"""How many words there are for the side of the images, the depth and the height of a node."""
CLASSIFIER_WEIGHT, CLASSIFIER_BIAS = f"{CLASSIFIER}/weight", f"{CLASSIFIER}/bias"


class GHN(nn.Module):
    """GHN-2 (Knyazev et al., 2021), whose nodes, unless configured otherwise, know more: all shapes, and bit widths.

    Bit widths, and places in the network where it is to know them, enter as embeddings that start at zero and are added
    to a node's features, so a hypernetwork trained in float predicts the same parameters at every width until it is
    trained further.

    Args:
        config: sizes and choices.
    """

    fits_classes = False

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        self.primitive = nn.Embedding(len(PRIMITIVES), hidden)
        extra, tables = (1, 1) if config.features == "ghn-2" else (0, 2)  # a word for no shape; Cout and Cin, kh and kw
        self.channels = nn.ModuleList(nn.Embedding(len(CHANNELS) + extra, hidden // 4) for _ in range(tables))
        self.kernels = nn.ModuleList(nn.Embedding(len(KERNELS) + extra, hidden // 4) for _ in range(tables))
        self.widths = zero_tables([len(BIT_WIDTHS)] * 2 * config.knows_bits, hidden)
        self.places = zero_tables(PLACES * config.knows_places, hidden)
        self.sweeps = GatedSweeps(hidden, config.rounds)
        self.norm = nn.LayerNorm(hidden)
        self.conv = ConvDecoder(hidden, config.channels, config.kernel, config.decoder)
        self.vectors = VectorDecoder(hidden, config.channels)
        self.classifier = ClassifierDecoder(config.channels, config.classes)

    @property
    def weights(self) -> Sharing:
        """What shares a step where its networks are quantized."""
        return self.config.weights

    def on(self, weights: str) -> Self:
        """The same hypernetwork, for other grids; those that it has where ``weights`` is empty.

        Raises:
            QnasError: there are no such grids.
        """
        if weights:
            self.config = replace(self.config, weights=weights)  # type: ignore[arg-type]  # checked by the configuration
        return self

    def knowing_places(self) -> Self:
        """The same hypernetwork, which can learn where in a network nodes are; until then it predicts what it did.

        One that has GHN-2's features keeps to them.
        """
        if not self.config.knows_places and self.config.features != "ghn-2":
            self.config = replace(self.config, knows_places=True)
            self.places = zero_tables(PLACES, self.config.hidden).to(self.primitive.weight.device)
        return self

    def extra_repr(self) -> str:
        """The configuration."""
        return ", ".join(f"{key}={value}" for key, value in asdict(self.config).items())

    def embed(self, graph: Data) -> Tensor:
        """Node states (nodes, hidden) of a graph in the processor's memory, after message passing and layer norm."""
        device = self.primitive.weight.device
        sweeps = schedule(graph, self.config.sweep == "sequential", device)
        x = sent_to(ghn_2_features(graph.x) if self.config.features == "ghn-2" else graph.x, device)
        four = (self.channels[0], self.channels[-1], self.kernels[0], self.kernels[-1])
        shape = [table(x[:, place]) for place, table in enumerate(four, start=1)]
        states = self.primitive(x[:, 0]) + torch.cat(shape, dim=1)
        for first, tables in ((5, self.widths), (7, self.places)):
            for place, table in enumerate(tables, start=first):
                states = states + table(x[:, place])
        normed: Tensor = self.norm(self.sweeps(states, sweeps))
        return normed

    def forward(self, plans: list[Plan], whole: bool = True) -> list[Predicted]:
        """Parameters of every plan, by slot name, differentiable in the hypernetwork's own.

        Args:
            plans: of the networks.
            whole: give every tensor in full; else of those that repeat the first tile, which is all that the forward
                pass needs of most plans (``qnas.network.tiles``) and far less memory and work.

        Raises:
            QnasError: a plan has another number of classes, or a larger kernel, than the hypernetwork decodes.
        """
        for plan in plans:
            if plan.classes != self.config.classes:
                raise QnasError(
                    f"This hypernetwork was trained for {self.config.classes} classes, the data set has "
                    f"{plan.classes}; train one for it with `qnas.fit_ghn(data='NAME')`."
                )
            if (kernel := max(node.kernel for node in plan.nodes)) > self.config.kernel:
                raise QnasError(
                    f"This hypernetwork decodes kernels up to {self.config.kernel}, the network has one of {kernel}; "
                    "train one for its space with `qnas.fit_ghn(space='NAME')`."
                )
        graph = batch_graphs([encode(plan, self.config.virtual_edges) for plan in plans])
        return self.decode(self.embed(graph), graph.slot_index, plans, whole)

    def decode(self, states: Tensor, slot_index: Tensor, plans: list[Plan], whole: bool) -> list[Predicted]:
        """Parameters from node states; all slots of one decoded shape are decoded together, and so are all vectors.

        On a GPU so are all convolutions: it hardly notices what is decoded too much (``qnas.ghn.gather``).
        """
        slots = [(net, slot) for net, plan in enumerate(plans) for slot in plan.slots]
        shapes = [self._decoded_shape(slot) for _, slot in slots]
        groups: dict[Shape, list[int]] = defaultdict(list)
        for place, shape in enumerate(shapes):
            groups[(len(shape),) if states.is_cuda else shape].append(place)
        order = torch.tensor([place for places in groups.values() for place in places])
        ordered = states.index_select(0, sent_to(slot_index[order], states.device))
        members_of = ordered.split([len(places) for places in groups.values()])
        predicted: list[Predicted] = [{} for _ in plans]
        wholes = [whole or not first_tiles_suffice(plan) for plan in plans]
        for places, members in zip(groups.values(), members_of, strict=True):
            group, wanted = [slots[place][1] for place in places], [shapes[place] for place in places]
            decoded = (
                self._decode_weights(members, wanted, group) if wanted[0] else self._decode_vectors(members, group)
            )
            for place, tensor in zip(places, decoded, strict=True):
                net, slot = slots[place]
                predicted[net][slot.name] = tile(tensor, slot.shape) if wholes[net] else tensor
        return predicted

    def _decoded_shape(self, slot: Slot) -> Shape:
        """The shape of a weight's first tile, or nothing for a vector."""
        if slot.kind != "weight":
            return ()
        most = self.config.channels
        if slot.name == CLASSIFIER_WEIGHT:
            return slot.shape[0], min(slot.shape[1], most)
        kernel = slot.shape[2:] or (1, 1)  # a hidden linear layer is a 1 x 1 convolution
        return min(slot.shape[0], most), min(slot.shape[1], most), *kernel

    def _decode_weights(self, states: Tensor, shapes: list[Shape], slots: list[Slot]) -> list[Tensor]:
        """Those of classifiers, of convolutions of one shape, or of any."""
        factors = torch.tensor([fan_in_factor(slot.shape) for slot in slots], dtype=states.dtype)
        factors, first = sent_to(factors, states.device), shapes[0]
        if len(first) == 2:
            columns = max(shape[1] for shape in shapes)
            weight = self.classifier.weights(self.conv(states, self.config.channels, columns, 1))
            parts = [part[:, : shape[1]] for part, shape in zip(scaled(weight, factors), shapes, strict=True)]
        elif len(set(shapes)) == 1:
            parts = list(scaled(self.conv(states, *first[:3]), factors))
        else:
            parts = corners(self.conv, states, shapes, factors)
        return [part.flatten(1) if len(slot.shape) == 2 else part for part, slot in zip(parts, slots, strict=True)]

    def _decode_vectors(self, states: Tensor, slots: list[Slot]) -> list[Tensor]:
        raw, length = self.vectors(states), self.config.channels
        scales, shifts = 2 * torch.sigmoid(raw[:, 0] / 2), torch.tanh(raw[:, 1] / 5)
        last = [place for place, slot in enumerate(slots) if slot.name == CLASSIFIER_BIAS]
        of_last = raw[:, 1].index_select(0, sent_to(torch.tensor(last), raw.device))
        biases = torch.tanh(self.classifier.biases(of_last) / 5)
        places = []
        for place, slot in enumerate(slots):
            row = place if slot.kind == "norm_weight" else len(slots) + place
            places.append(row * length + np.arange(min(slot.shape[0], length)))
        for number, place in enumerate(last):
            places[place] = 2 * len(slots) * length + number * biases.shape[1] + np.arange(biases.shape[1])
        return gathered(torch.cat([scales.flatten(), shifts.flatten(), biases.flatten()]), places)


def zero_tables(sizes: Sequence[int], hidden: int) -> nn.ModuleList:
    """Embeddings of so many words each, which say nothing yet."""
    tables = nn.ModuleList(nn.Embedding(size, hidden) for size in sizes)
    for table in tables:
        nn.init.zeros_(table.get_parameter("weight"))
    return tables


def scaled(weights: Tensor, factors: Tensor) -> tuple[Tensor, ...]:
    """Each of several weights of one shape times its factor."""
    return weights.contiguous().mul_(factors.view(-1, *[1] * (weights.dim() - 1))).unbind()
