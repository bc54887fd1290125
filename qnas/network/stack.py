"""Several networks of one plan that compute side by side, in training: their channels lie one network after another.

Values are (batch, networks * channels, height, width), so that pools, sums and ReLUs need not know; a convolution has a
group for each network, a batch norm has its channels, and a linear layer or a 1 x 1 convolution is one batched matrix
product. No number of one network reaches another. Small networks share the cost of every call; large ones gain nothing.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qnas.errors import QnasError
from qnas.network.convolution import conv2d, reachable_taps
from qnas.network.forward import Parameters, forward
from qnas.network.module import MOMENTUM, Network
from qnas.network.plan import Node, Plan
from qnas.quant.fold import EPSILON


class Stack:
    """Networks of one plan in float training; an arithmetic (``qnas.network.forward.Arithmetic``) of all of them.

    Args:
        plan: of each network, without concatenations.
        several: parameters of each, by slot name, on one device.

    Raises:
        QnasError: the plan has a concatenation, which would mix the networks' channels.
    """

    def __init__(self, plan: Plan, several: Sequence[Parameters]) -> None:
        if any(node.kind == "concat" for node in plan.nodes):
            raise QnasError("Networks with concatenations cannot be stacked; train them one by one.")
        self.plan, self.count = plan, len(several)
        self.slots = {
            slot.name: torch.cat([one[slot.name].detach() for one in several]).requires_grad_() for slot in plan.slots
        }
        self.averages: dict[str, Tensor] = {}
        for node in plan.nodes:
            if node.norm:
                ones = self.slots[f"{node.name}/norm_weight"].new_ones(self.count * node.shape[0])
                self.averages |= {f"{node.name}/mean": torch.zeros_like(ones), f"{node.name}/variance": ones}

    def __call__(self, images: Tensor, arithmetic: Any = None) -> Tensor:
        """Logits (batch, networks, classes) of images (batch, channels, height, width), all networks' the same."""
        logits = forward(self.plan, self.slots, images, arithmetic or self)
        return logits.view(len(images), self.count, self.plan.classes)

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        """A layer of every network, with the batch's statistics; ``x`` may also be the images, which all share."""
        weight = parameters[f"{node.name}/weight"]
        output = self._linear_part(node, x, weight)
        if not node.norm:
            return output + parameters[f"{node.name}/bias"].view(1, -1, *[1] * (output.dim() - 2))
        scale, shift = parameters[f"{node.name}/norm_weight"].abs(), parameters[f"{node.name}/norm_bias"]
        averages = self.averages[f"{node.name}/mean"], self.averages[f"{node.name}/variance"]
        return torch.batch_norm(output, scale, shift, *averages, True, MOMENTUM, EPSILON, False)

    def _linear_part(self, node: Node, x: Tensor, weight: Tensor) -> Tensor:
        shared = self.count == 1 or node.inputs == (0,)
        if node.kind == "linear":
            return self._product(x, weight)
        if node.groups > 1:
            return conv2d(x, weight, None, node.stride, node.dilation, x.shape[1])
        if shared:
            return conv2d(x, weight, None, node.stride, node.dilation, 1)
        weight = reachable_taps(weight, x.shape[2], x.shape[3], node.dilation)
        if weight.shape[2] == weight.shape[3] == 1:
            pixels = x[:, :, :: node.stride, :: node.stride].permute(0, 2, 3, 1)
            output = self._product(pixels.reshape(-1, x.shape[1]), weight)
            return output.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)
        return conv2d(x, weight, None, node.stride, node.dilation, self.count)

    def _product(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Every network's own product: rows (n, networks * in) and weights (networks * out, in, ...)."""
        matrices = weight.view(self.count, -1, weight.shape[1])
        product = rows.view(len(rows), self.count, -1).transpose(0, 1) @ matrices.transpose(1, 2)
        return product.transpose(0, 1).reshape(len(rows), -1)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        """Nothing is rounded; see ``Arithmetic``."""
        return x

    def state(self) -> dict[str, Tensor]:
        """Parameters and averages, by names; ``load_state`` reads it."""
        return {**self.slots, **self.averages}

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take parameters and averages over."""
        for name, value in self.state().items():
            value.copy_(state[name])

    @torch.no_grad()
    def into(self, network: Network, place: int) -> Network:
        """A module of the same plan with the parameters and averages of one network, frozen, in evaluation mode."""
        for name, value in self.slots.items():
            network.slots[name].copy_(value.chunk(self.count)[place])
        for name, value in self.averages.items():
            network.get_buffer(name).copy_(value.chunk(self.count)[place])
        network.frozen = True
        return network.eval()
