"""Convolutions rewritten into equal, cheaper ones before they reach the library's kernels.

Small images and dilated depthwise layers are what a mobile space is full of and what the kernels are slowest at. Four
identities, each exact: a 1 x 1 convolution is a matrix product, or where it is depthwise a product; taps that only ever
meet padding are cut off; a dilated convolution at stride 2 reads only the even pixels; and one at stride 1 is four
plain convolutions on the four half-resolution phases of the image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int, groups: int) -> Tensor:
    """A convolution of odd kernel whose padding keeps the size at stride 1.

    Args:
        x: (batch, Cin, height, width).
        weight: (Cout, Cin / groups, k, k).
        bias: (Cout,) or nothing.
        stride: 1 or more.
        dilation: 1 or more.
        groups: 1 or Cin.

    Returns:
        (batch, Cout, ceil(height / stride), ceil(width / stride)).
    """
    weight = reachable_taps(weight, x.shape[2], x.shape[3], dilation)
    if weight.shape[2] == weight.shape[3] == 1:
        x = x[:, :, ::stride, ::stride]
        return pointwise(x, weight, bias) if groups == 1 else scaled(x, weight, bias)
    if dilation == 2 and stride == 2:
        return _same_conv(x[:, :, ::2, ::2], weight, bias, 1, 1, groups)
    if dilation == 2 and stride == 1 and x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0:
        return from_phases(_same_conv(to_phases(x), weight, bias, 1, 1, groups), x.shape[0])
    return _same_conv(x, weight, bias, stride, dilation, groups)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A dense 1 x 1 convolution as one matrix product over all pixels."""
    pixels = x.permute(0, 2, 3, 1)
    output = F.linear(pixels.reshape(-1, x.shape[1]), weight.flatten(1), bias)
    return output.view(*pixels.shape[:3], -1).permute(0, 3, 1, 2)


def scaled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A depthwise 1 x 1 convolution: every channel times its weight."""
    factor = weight.view(1, -1, 1, 1)
    return x * factor if bias is None else torch.addcmul(bias.view(1, -1, 1, 1), x, factor)


def max_pool(x: Tensor, kernel: int, stride: int) -> Tensor:
    """A max pool of odd kernel whose padding does not count; without gradients rows and columns are taken in turn."""
    if torch.is_grad_enabled() or x.is_cuda or torch.compiler.is_exporting():
        return F.max_pool2d(x, kernel, stride, kernel // 2)
    x = F.pad(x, [kernel // 2] * 4, value=float("-inf"))
    for dimension in (2, 3):
        x, *others = x.unfold(dimension, kernel, stride).unbind(-1)
        for other in others:
            x = torch.maximum(x, other)
    return x


def reachable_taps(weight: Tensor, height: int, width: int, dilation: int) -> Tensor:
    """The middle of a kernel: the taps that reach a pixel of a (height, width) image from some other pixel of it."""
    rows, columns = ((min(weight.shape[2] // 2, (side - 1) // dilation)) for side in (height, width))
    middle = weight.shape[2] // 2
    if rows == columns == middle:
        return weight
    return weight[:, :, middle - rows : middle + rows + 1, middle - columns : middle + columns + 1]


def to_phases(x: Tensor) -> Tensor:
    """(batch, C, 2h, 2w) to (4 batch, C, h, w): the even and odd rows and columns as images of their own."""
    return torch.cat([x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)])


def from_phases(phases: Tensor, batch: int) -> Tensor:
    """The inverse of ``to_phases``, in channels-last memory."""
    _, channels, height, width = phases.shape
    grid = phases.view(2, 2, batch, channels, height, width).permute(2, 4, 0, 5, 1, 3)
    return grid.reshape(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def _same_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int, groups: int) -> Tensor:
    padding = [dilation * (side // 2) for side in weight.shape[2:]]
    if groups > 1 and x.is_cuda:  # cuDNN's depthwise kernels for channels-last memory take seconds
        output = F.conv2d(x.contiguous(), weight.contiguous(), bias, stride, padding, dilation, groups)
        return output.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
