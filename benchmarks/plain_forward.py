"""The forward pass of a plan as one would first write it: whole tensors, one library call an operation.

Images in the ordinary memory order, convolutions as they stand, every layer's batch norm folded with the batch's
statistics, rounding composed of elementwise operations (equations 1 to 4). Slow and plain on purpose.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.plan import Node, Plan
from qnas.quant.fold import EPSILON
from qnas.quant.ranges import range_of, usual_fit


def rounded(x: Tensor, bits: int) -> Tensor:
    """Quantize and dequantize in the range that the package takes."""
    low, high = range_of(x, usual_fit(bits))
    low, high = low.clamp(max=0), high.clamp(min=0)
    levels = 2**bits - 1
    step = ((high - low) / levels).clamp(min=torch.finfo(torch.float32).eps)
    zero_point = torch.round(-low / step)
    return (torch.clamp(torch.round(x / step) + zero_point, 0, levels) - zero_point) * step


def layer(node: Node, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """A convolution or linear layer at its weight bits, its batch norm folded in."""
    weight, quantized = parameters[f"{node.name}/weight"], not node.bits.is_float
    if node.kind == "linear":
        return F.linear(x.flatten(1), rounded(weight, node.bits.weights) if quantized else weight,
                        parameters[f"{node.name}/bias"])  # fmt: skip
    shape = (node.stride, node.padding, node.dilation, node.groups)
    if not node.norm:
        return F.conv2d(x, rounded(weight, node.bits.weights) if quantized else weight,
                        parameters[f"{node.name}/bias"], *shape)  # fmt: skip
    scale, shift = parameters[f"{node.name}/norm_weight"], parameters[f"{node.name}/norm_bias"]
    output = F.conv2d(x, weight, None, *shape)
    if not quantized:
        return F.batch_norm(output, None, None, scale, shift, True, eps=EPSILON)
    variance, mean = torch.var_mean(output, (0, 2, 3), correction=0)
    ratio = scale * (variance + EPSILON).rsqrt()
    weight = rounded(weight * ratio[:, None, None, None], node.bits.weights)
    return F.conv2d(x, weight, shift - mean * ratio, *shape)


def forward(plan: Plan, parameters: dict[str, Tensor], images: Tensor) -> Tensor:
    """Logits (batch, classes) of images (batch, channels, height, width)."""
    values: list[Tensor] = []
    unrounded: dict[int, Tensor] = {}
    for position, node in enumerate(plan.nodes):
        inputs = [values[source] for source in node.inputs]
        match node.kind:
            case "input":
                value = images
            case "conv" | "linear":
                value = layer(node, inputs[0], parameters)
            case "max_pool":
                value = F.max_pool2d(inputs[0], node.kernel, node.stride, node.padding)
            case "avg_pool":
                value = F.avg_pool2d(inputs[0], node.kernel, node.stride, node.padding, count_include_pad=False)
            case "global_avg":
                value = inputs[0].mean((2, 3), keepdim=True)
            case "sum":
                value = inputs[0] + inputs[1]
            case "concat":
                value = torch.cat([unrounded.get(source, values[source]) for source in node.inputs], dim=1)
        value = value.relu() if node.relu else value
        if node.kind == "sum":
            unrounded[position] = value
        exact = node.bits.is_float or not node.quantized
        values.append(value if exact else rounded(value, node.bits.activations))
    return values[-1]
