"""From node states to parameter tensors: convolutions, vectors and the classifier (GHN-2: Knyazev et al., 2021).

A tensor larger than the decoder's own size is tiled: its channels repeat with that period. Tiles equal each other, so
the forward pass also takes the first one alone (``qnas.network.tiles``).
"""

from math import prod, sqrt

import torch
from torch import Tensor, nn

from qnas.network.tiles import repeated


def tile(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeat a tensor along its first two dimensions, or its only one, until it has the wanted shape.

    The second dimension comes first, while the tensor is small, so that all of the result is written only once.
    """
    for dimension in range(min(2, len(shape)) - 1, -1, -1):
        tensor = repeated(tensor, shape[dimension], dimension)
    return tensor


def fan_in_factor(shape: tuple[int, ...]) -> float:
    """√(β / fan_in) of a weight (Cout, Cin / groups, kh, kw) or (out, in): β is 1 for a depthwise one, else 2."""
    return sqrt((1 if len(shape) == 4 and shape[1] == 1 else 2) / prod(shape[1:]))


class ConvDecoder(nn.Module):
    """Decodes states into convolution weights of up to (channels, channels, kernel, kernel).

    Args:
        hidden: length of a state.
        channels: most channels in and out.
        kernel: largest kernel.
        widths: of the two hidden layers.
    """

    def __init__(self, hidden: int, channels: int, kernel: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.channels, self.kernel = channels, kernel
        self.spatial = nn.Linear(hidden, widths[0] * kernel * kernel)
        self.mix = nn.Linear(*widths)
        self.expand = nn.Linear(widths[1], channels * channels)

    def forward(self, states: Tensor, channels_out: int, channels_in: int, kernel: int) -> Tensor:
        """Weights (nodes, Cout, Cin, kernel, kernel) of at most the decoder's size, not yet tiled or normalised.

        The top-left corner of the largest tensor is taken before anything is multiplied.
        """
        rows, columns, side = (min(channels_out, self.channels), min(channels_in, self.channels), self.kernel)
        kernel = min(kernel, side)
        weight: Tensor = self.spatial.weight
        bias: Tensor = self.spatial.bias
        if kernel < side:
            weight = weight.view(-1, side, side, weight.shape[1])[:, :kernel, :kernel].flatten(0, 2)
            bias = bias.view(-1, side, side)[:, :kernel, :kernel].flatten()
        hidden = torch.addmm(bias, states, weight.t()).relu()
        hidden = self.mix(hidden.view(len(states), -1, kernel * kernel).transpose(1, 2)).relu()
        weight, bias = self.expand.weight, self.expand.bias
        if rows < self.channels or columns < self.channels:
            weight = weight.view(self.channels, self.channels, -1)[:rows, :columns].flatten(0, 1)
            bias = bias.view(self.channels, self.channels)[:rows, :columns].flatten()
        decoded = torch.addmm(bias, hidden.flatten(0, 1), weight.t())
        return decoded.view(len(states), kernel, kernel, rows, columns).permute(0, 3, 4, 1, 2)


class VectorDecoder(nn.Module):
    """Decodes states into per-channel vectors: batch norms' weight and bias, and convolutions' bias.

    Args:
        hidden: length of a state.
        channels: most channels; longer vectors are tiled.
    """

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, 2 * channels))

    def forward(self, states: Tensor) -> Tensor:
        """Two raw vectors a node: (nodes, 2, channels)."""
        decoded: Tensor = self.layers(states)
        return decoded.view(len(states), 2, self.channels)


class ClassifierDecoder(nn.Module):
    """Turns decoded 1 x 1 weights and raw vectors into a linear layer's weight and bias.

    Args:
        channels: of the decoder.
        classes: of the data set.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Linear(channels, classes)
        self.bias = nn.Linear(channels, classes)

    def weights(self, decoded: Tensor) -> Tensor:
        """From decoded 1 x 1 weights (nodes, channels, Cin, 1, 1) to the linear layer's (nodes, classes, Cin)."""
        weight: Tensor = self.weight(decoded.flatten(2).transpose(1, 2).relu())
        return weight.transpose(1, 2)

    def biases(self, raw: Tensor) -> Tensor:
        """From raw vectors (nodes, channels) to the linear layer's raw bias (nodes, classes)."""
        bias: Tensor = self.bias(raw.relu())
        return bias
