"""Post-training quantization held against numpy's quantiles and torch's own fake quantization."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.network.build import build_plan
from qnas.network.grids import Grids
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.network.plan import Builder
from qnas.network.post_training import activation_ranges, layer_ranges, quantized
from qnas.quant.scheme import FP32, Bits
from qnas.task import Task

TASK = Task((2, 8, 8), 3)
GRIDS = Grids("asymmetric")


def small() -> Network:
    """One convolution with a batch norm whose averages are not the usual ones, and a classifier."""
    builder = Builder(TASK, True, FP32)
    plan = builder.classifier(builder.conv("conv", 0, 4, 3))
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-2.0, 2.0), GRIDS)
    network.get_buffer("conv/mean").copy_(torch.linspace(-0.5, 0.5, 4))
    network.get_buffer("conv/variance").copy_(torch.linspace(0.5, 2, 4))
    network.frozen = True
    return network.eval()


def rounded(x: Tensor, low: float, high: float, bits: int) -> Tensor:
    """Torch's own fake quantization, in the range widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (2**bits - 1)
    return torch.fake_quantize_per_tensor_affine(x, scale, round(-low / scale), 0, 2**bits - 1)


@torch.no_grad()
def test_ranges_leave_out_one_per_cent_at_both_ends() -> None:
    network, images = small(), torch.randn(40, 2, 8, 8)
    ranges = activation_ranges(network, images.split(16))
    weight, bias = network.folded(network.plan.nodes[1])
    conv = F.conv2d(images, weight, bias, padding=1).relu()
    pooled = conv.mean((2, 3))
    logits = F.linear(pooled, network.slots["classifier/weight"], network.slots["classifier/bias"])
    for name, values in (("conv", conv), ("pool", pooled), ("classifier", logits)):
        ends = np.quantile(values.numpy().ravel(), [0.01, 0.99], method="nearest")
        np.testing.assert_allclose([end.item() for end in ranges[name]], ends, rtol=1e-4, atol=1e-5)
    assert [end.item() for end in ranges["image"]] == [-2.0, 2.0]


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 4)], ids=str)
@torch.no_grad()
def test_a_network_is_rounded_as_torch_rounds(bits: Bits) -> None:
    network, images = small(), torch.randn(16, 2, 8, 8).clamp(-2, 2)
    ranges = activation_ranges(network, [images])
    number = {name: tuple(end.item() for end in ends) for name, ends in ranges.items()}
    weight, bias = network.folded(network.plan.nodes[1])
    x = rounded(images, *number["image"], 8)
    x = F.conv2d(x, rounded(weight, weight.min().item(), weight.max().item(), bits.weights), bias, padding=1).relu()
    x = rounded(x, *number["conv"], bits.activations).mean((2, 3))
    last = network.slots["classifier/weight"]
    last = rounded(last, last.min().item(), last.max().item(), bits.weights)
    logits = F.linear(rounded(x, *number["pool"], bits.activations), last, network.slots["classifier/bias"])
    expected = rounded(logits, *number["classifier"], 8)
    found = quantized(network, bits, ranges)(images)
    step = (number["classifier"][1] - number["classifier"][0]) / 255
    assert (found - expected).abs().max() <= 1.01 * step  # ties apart
    assert (found - expected).abs().mean() < 0.1 * step


@torch.no_grad()
def test_what_layers_span() -> None:
    network, images = small(), torch.randn(16, 2, 8, 8)
    ranges = activation_ranges(network, [images])
    conv, classifier = layer_ranges(network, ranges)
    weight = network.folded(network.plan.nodes[1])[0].numpy()
    assert (conv.name, classifier.name) == ("conv", "classifier")
    assert conv.weight == pytest.approx(weight.max() - weight.min())
    channels = [row.max() - row.min() for row in weight]
    assert conv.precision == pytest.approx(np.mean(channels) / conv.weight)
    assert conv.activation == pytest.approx((ranges["conv"][1] - ranges["conv"][0]).item())


@pytest.mark.parametrize("design", ["regular_conv", "dws_conv", "basic_residual", "mbnet_v2"])
@torch.no_grad()
def test_more_bits_are_nearer_to_the_float_network(design: str) -> None:
    plan, images = build_plan(HandMade(design, 4), TASK), torch.randn(32, 2, 8, 8)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-4.0, 4.0), GRIDS)
    network.calibrate([images])
    network.frozen = True
    ranges = activation_ranges(network.eval(), [images])
    apart = [F.mse_loss(quantized(network, Bits(n, n), ranges)(images), network(images)).item() for n in (8, 4, 2)]
    assert apart == sorted(apart)
    assert apart[0] < apart[2] / 2
