"""The graph hypernetwork: from the graphs of any networks to all of their parameters, in one forward pass."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from qnas.errors import QnasError
from qnas.ghn.config import GHNConfig
from qnas.ghn.decoder import ClassifierDecoder, ConvDecoder, VectorDecoder, normalised, tile, tiled_vector
from qnas.ghn.sweep import GatedSweeps, schedule
from qnas.graph.encoding import batch_graphs, encode
from qnas.graph.vocabulary import CHANNELS, KERNELS, PRIMITIVES, WIDTHS
from qnas.network.plan import CLASSIFIER, Plan, Slot

Predicted = dict[str, Tensor]
CLASSIFIER_BIAS = f"{CLASSIFIER}/bias"


class GHN(nn.Module):
    """GHN-2 (Knyazev et al., 2021), whose nodes also know the bit widths of their weights and activations.

    Bit widths enter as embeddings that start at zero and are added to a node's features, so a hypernetwork trained in
    float predicts the same parameters at every width until it is trained further.

    Args:
        config: sizes and choices.
    """

    def __init__(self, config: GHNConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        self.primitive = nn.Embedding(len(PRIMITIVES), hidden)
        self.channels = nn.ModuleList(nn.Embedding(len(CHANNELS), hidden // 4) for _ in range(2))
        self.kernels = nn.ModuleList(nn.Embedding(len(KERNELS), hidden // 4) for _ in range(2))
        self.widths = nn.ModuleList(nn.Embedding(len(WIDTHS), hidden) for _ in range(2))
        self.sweeps = GatedSweeps(hidden, config.rounds)
        self.norm = nn.LayerNorm(hidden)
        self.conv = ConvDecoder(hidden, config.channels, config.kernel, config.decoder)
        self.vectors = VectorDecoder(hidden, config.channels)
        self.classifier = ClassifierDecoder(config.channels, config.classes)
        for table in self.widths:
            nn.init.zeros_(table.weight)  # type: ignore[arg-type]

    def extra_repr(self) -> str:
        """The configuration."""
        return ", ".join(f"{key}={value}" for key, value in asdict(self.config).items())

    def embed(self, graph: Data) -> Tensor:
        """Node states (nodes, hidden) after message passing and layer norm."""
        x = graph.x
        shape = [table(x[:, 1 + place]) for place, table in enumerate((*self.channels, *self.kernels))]
        states = self.primitive(x[:, 0]) + torch.cat(shape, dim=1)
        states = states + self.widths[0](x[:, 5]) + self.widths[1](x[:, 6])
        states = self.sweeps(states, schedule(graph, self.config.sweep == "sequential"))
        normed: Tensor = self.norm(states)
        return normed

    def forward(self, plans: list[Plan]) -> list[Predicted]:
        """Parameters of every plan, by slot name, differentiable in the hypernetwork's own.

        Raises:
            QnasError: a plan has another number of classes, or a larger kernel, than the hypernetwork decodes.
        """
        for plan in plans:
            if plan.classes != self.config.classes:
                raise QnasError(
                    f"This hypernetwork was trained for {self.config.classes} classes, the data set has "
                    f"{plan.classes}; train one for it with: qnas fit-ghn --data NAME"
                )
            if (kernel := max(node.kernel for node in plan.nodes)) > self.config.kernel:
                raise QnasError(
                    f"This hypernetwork decodes kernels up to {self.config.kernel}, the network has one of {kernel}; "
                    "train one for its space with: qnas fit-ghn --space NAME"
                )
        device = self.primitive.weight.device
        graph = batch_graphs([encode(plan) for plan in plans]).to(device)
        return self.decode(self.embed(graph), graph.slot_index, plans)

    def decode(self, states: Tensor, slot_index: Tensor, plans: list[Plan]) -> list[Predicted]:
        """Parameters from node states; all slots of one weight shape are decoded together, and so are all vectors."""
        slots = [(net, slot) for net, plan in enumerate(plans) for slot in plan.slots]
        states = states.index_select(0, slot_index)
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, (_, slot) in enumerate(slots):
            groups[slot.shape if slot.kind == "weight" else ()].append(place)
        predicted: list[Predicted] = [{} for _ in plans]
        for shape, places in groups.items():
            group = [slots[place] for place in places]
            members = states[places]
            for (net, slot), tensor in zip(group, self._decode_group(members, shape, group), strict=True):
                predicted[net][slot.name] = tensor
        return predicted

    def _decode_group(self, states: Tensor, shape: tuple[int, ...], group: list[tuple[int, Slot]]) -> Iterable[Tensor]:
        if shape == ():
            return self._decode_vectors(states, [slot for _, slot in group])
        if len(shape) == 2:
            decoded = self.conv(states, self.config.channels, shape[1], 1)
            weight = self.classifier.weights(decoded)[..., None, None]
        else:
            weight = self.conv(states, shape[0], shape[1], shape[2])
        rows, columns = shape[:2]
        return normalised(tile(weight, rows, columns)).view(len(states), *shape).unbind()

    def _decode_vectors(self, states: Tensor, slots: list[Slot]) -> Iterator[Tensor]:
        raw = self.vectors(states)
        scales, shifts = 2 * torch.sigmoid(raw[:, 0] / 2), torch.tanh(raw[:, 1] / 5)
        classes = torch.tanh(self.classifier.biases(raw[:, 1]) / 5)
        for place, slot in enumerate(slots):
            if slot.name == CLASSIFIER_BIAS:
                yield classes[place]
            else:
                yield tiled_vector((scales if slot.kind == "norm_weight" else shifts)[place], slot.shape[0])
