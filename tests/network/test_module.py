"""A trainable network held against torch's own modules: Conv2d with BatchNorm2d, running averages, fake_quantize."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qnas.network.build import build_plan
from qnas.network.grids import Grids
from qnas.network.initial import he_parameters
from qnas.network.module import MOMENTUM, Network, has_learned_step
from qnas.network.plan import Builder, Plan
from qnas.quant.fold import EPSILON
from qnas.quant.scheme import FP32, PAPER_BITS, Bits
from qnas.space.genotype import Genotype
from qnas.task import Task

QUANTIZED = pytest.mark.parametrize("bits", PAPER_BITS[1:], ids=str)
RANGE = (-3.0, 3.0)
LEARNED = Grids()
WHOLE = Grids("asymmetric")


def small_plan(bits: Bits = FP32, batch_norm: bool = True) -> Plan:
    """A dense, a depthwise and a 1 x 1 convolution, a max pool and the classifier."""
    builder = Builder(Task((3, 8, 8), 4), batch_norm, bits)
    dense = builder.conv("dense", 0, 6, 3)
    depthwise = builder.conv("depthwise", dense, 6, 5, stride=2, groups=6)
    pooled = builder.pool("max", "max_pool", depthwise, 3, 1)
    return builder.classifier(builder.conv("pointwise", pooled, 8, 1))


def with_norm(name: str, network: Network, conv: nn.Conv2d, momentum: float = MOMENTUM) -> list[nn.Module]:
    """The convolution, its batch norm with the network's values and averages, and the ReLU."""
    norm = nn.BatchNorm2d(conv.out_channels, EPSILON, momentum)
    state = {"weight": network.slots[f"{name}/norm_weight"].abs(), "bias": network.slots[f"{name}/norm_bias"]}
    averages = {
        "running_mean": network.get_buffer(f"{name}/mean"),
        "running_var": network.get_buffer(f"{name}/variance"),
    }
    norm.load_state_dict({**state, **averages, "num_batches_tracked": torch.tensor(0)})
    conv.load_state_dict({"weight": network.slots[f"{name}/weight"]})
    return [conv, norm, nn.ReLU()]


def reference(network: Network) -> nn.Sequential:
    """The network of ``small_plan`` with batch norms, made of torch's modules."""
    linear = nn.Linear(8, 4)
    linear.load_state_dict({key: network.slots[f"classifier/{key}"] for key in ("weight", "bias")})
    return nn.Sequential(
        *with_norm("dense", network, nn.Conv2d(3, 6, 3, padding=1, bias=False)),
        *with_norm("depthwise", network, nn.Conv2d(6, 6, 5, stride=2, padding=2, groups=6, bias=False)),
        nn.MaxPool2d(3, 1, 1),
        *with_norm("pointwise", network, nn.Conv2d(6, 8, 1, bias=False)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        linear,
    )


def small_network(bits: Bits = FP32, batch_norm: bool = True, weights: Grids = LEARNED) -> Network:
    """Random parameters, and averages of batch norms that no batch would give."""
    plan = small_plan(bits, batch_norm)
    network = Network(plan, {slot.name: torch.randn(slot.shape) for slot in plan.slots}, RANGE, weights)
    for name, buffer in network.named_buffers():
        if name.endswith(("/mean", "/variance")):
            buffer.uniform_(0.5, 2)
    return network


def averages(network: Network) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.named_buffers() if name != "input_range"}


def steps_of(network: Network) -> dict[str, Tensor]:
    return {node.name: network.step(node).detach() for node in network.plan.nodes if has_learned_step(node)}


def test_a_frozen_float_network_equals_torch_modules_in_evaluation_mode() -> None:
    network, images = small_network(), torch.randn(5, 3, 8, 8)
    network.frozen = True
    expected = reference(network).eval()(images)
    torch.testing.assert_close(network.eval()(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_a_frozen_network_without_batch_norms_equals_torch_convolutions() -> None:
    network, x = small_network(batch_norm=False), torch.randn(5, 3, 8, 8)
    values = network.slots
    hidden = F.conv2d(x, values["dense/weight"], values["dense/bias"], padding=1).relu()
    weights = values["depthwise/weight"], values["depthwise/bias"]
    hidden = F.max_pool2d(F.conv2d(hidden, *weights, stride=2, padding=2, groups=6).relu(), 3, 1, 1)
    hidden = F.conv2d(hidden, values["pointwise/weight"], values["pointwise/bias"]).relu().mean((2, 3))
    expected = F.linear(hidden, values["classifier/weight"], values["classifier/bias"])
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


def test_an_unfrozen_float_network_equals_torch_modules_in_training_mode() -> None:
    network, images = small_network(), torch.randn(5, 3, 8, 8)
    expected = reference(network).train()(images)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_moving_averages_equal_those_of_torch_over_several_batches() -> None:
    network = small_network()
    theirs = reference(network).train()
    for _ in range(3):
        images = torch.randn(5, 3, 8, 8)
        network(images)
        theirs(images)
    norms = [module for module in theirs if isinstance(module, nn.BatchNorm2d)]
    for name, norm in zip(("dense", "depthwise", "pointwise"), norms, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        torch.testing.assert_close(network.get_buffer(f"{name}/mean"), norm.running_mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network.get_buffer(f"{name}/variance"), norm.running_var, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_a_frozen_network_leaves_its_averages_alone(bits: Bits) -> None:
    network = small_network(bits)
    network.frozen = True
    before = averages(network)
    network(torch.randn(5, 3, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in averages(network).items())


def test_averages_hold_no_gradient() -> None:
    network = small_network(Bits(4, 4))
    network(torch.randn(5, 3, 8, 8))
    assert [name for name, value in network.named_buffers() if value.requires_grad] == []


def test_calibration_takes_the_mean_statistics_of_the_batches() -> None:
    network, batches = small_network(), [torch.randn(4, 3, 8, 8) for _ in range(3)]
    network.calibrate(batches)
    outputs = [F.conv2d(images, network.slots["dense/weight"], padding=1).detach() for images in batches]
    mean = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
    variance = torch.stack([output.var((0, 2, 3), correction=0) for output in outputs]).mean(0)
    torch.testing.assert_close(network.get_buffer("dense/mean"), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network.get_buffer("dense/variance"), variance, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(8, 6), Bits(8, 4)], ids=str)
def test_calibrated_steps_cover_the_largest_activation(bits: Bits) -> None:
    network, batches = small_network(bits, batch_norm=False), [torch.randn(16, 3, 8, 8) for _ in range(2)]
    network.calibrate(batches)
    values = network.slots
    hidden = [F.conv2d(x, values["dense/weight"], values["dense/bias"], padding=1).relu() for x in batches]
    expected = sum(x.max().item() for x in hidden) / 2 / (2**bits.activations - 1)
    assert steps_of(network)["dense"].item() == pytest.approx(expected, rel=0.02)


def test_at_two_bits_calibration_leaves_out_the_top_percent() -> None:
    network, images = small_network(Bits(8, 2), batch_norm=False), torch.randn(16, 3, 8, 8)
    network.calibrate([images])
    values = network.slots
    hidden = F.conv2d(images, values["dense/weight"], values["dense/bias"], padding=1).relu()
    assert steps_of(network)["dense"].item() == pytest.approx(hidden.quantile(0.99).item() / 3, rel=0.02)


@QUANTIZED
def test_every_quantized_output_but_the_image_has_a_positive_calibrated_step(genotype: Genotype, bits: Bits) -> None:
    plan = build_plan(genotype.with_bits(bits), Task((3, 16, 16), 4))
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), RANGE)
    network.calibrate([torch.randn(4, 3, 16, 16)])
    steps = steps_of(network)
    kinds = {node.kind for node in plan.nodes if node.name in steps}
    assert kinds == {"conv", "avg_pool", "sum", "concat", "global_avg"}
    assert all(0 < step < 100 for step in steps.values())
    assert len({step.item() for step in steps.values()}) > len(steps) / 2


def test_a_dead_layer_still_gets_a_positive_step() -> None:
    network = small_network(Bits(4, 4), batch_norm=False)
    with torch.no_grad():
        network.slots["dense/weight"].zero_()
        network.slots["dense/bias"].fill_(-1)
    network.calibrate([torch.randn(4, 3, 8, 8)])
    assert steps_of(network)["dense"] > 0
    assert network(torch.randn(4, 3, 8, 8)).isfinite().all()


def test_a_float_network_has_no_steps() -> None:
    assert len(small_network().log_steps) == 0


@QUANTIZED
def test_steps_stay_positive_however_hard_they_are_pushed_down(bits: Bits) -> None:
    network = small_network(bits)
    network.calibrate([torch.randn(8, 3, 8, 8)])
    before = steps_of(network)
    optimizer = torch.optim.SGD(network.log_steps.values(), lr=0.5)
    for _ in range(40):
        loss = torch.stack([network.step(node) for node in network.plan.nodes if has_learned_step(node)]).sum()
        optimizer.zero_grad()
        (100 * loss).backward()
        nn.utils.clip_grad_norm_(network.log_steps.values(), 1.0)
        optimizer.step()
    after = steps_of(network)
    assert all(0 < after[name] < before[name] for name in before)


@QUANTIZED
def test_a_gradient_reaches_every_parameter_and_step(bits: Bits) -> None:
    plan = small_plan(bits)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), RANGE)
    network.calibrate([torch.randn(8, 3, 8, 8)])
    F.cross_entropy(network(torch.randn(16, 3, 8, 8)), torch.arange(16) % 4).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


def test_a_quantized_weight_and_activation_equal_those_of_torch() -> None:
    network = small_network(Bits(4, 8), batch_norm=False, weights=WHOLE).eval()
    network.calibrate([torch.randn(8, 3, 8, 8)])
    node = next(node for node in network.plan.nodes if node.name == "dense")
    x = torch.randn(2, 3, 8, 8)
    weight = network.slots["dense/weight"].detach()
    low, high = weight.min().item(), weight.max().item()
    step = (high - low) / 15
    rounded = torch.fake_quantize_per_tensor_affine(weight, step, round(-low / step), 0, 15)
    found = network.layer(node, x, {}).detach()
    expected = F.conv2d(x, rounded, network.slots["dense/bias"], padding=1)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)
    activation = network.activation(node, found.relu()).detach()
    step = network.step(node).item()
    expected = torch.fake_quantize_per_tensor_affine(found.relu(), step, 0, 0, 255)
    assert (activation - expected).abs().max() <= 1.001 * step  # a tie may go either way
    assert ((activation - expected).abs() > 0.5 * step).float().mean() < 0.01


def test_the_image_is_rounded_to_eight_bits_over_its_fixed_range() -> None:
    network = small_network(Bits(4, 4))
    image = network.plan.nodes[0]
    x = torch.linspace(-4, 4, 1000).view(1, 1, 10, 100)
    step = 6 / 255
    rounded = network.activation(image, x)
    assert (rounded - x.clamp(*RANGE)).abs().max() <= step
    assert len(rounded.unique()) == 256


@pytest.mark.parametrize("learned", [True, False], ids=["learned", "fitted"])
@pytest.mark.parametrize("grid", ["per-tensor", "power-of-two"])
def test_what_a_layer_shares_or_is_a_power_of_two_is_so_once_it_is_folded(grid: str, learned: bool) -> None:
    network = small_network(Bits(4, 4), weights=Grids(grid, learned))
    for node in network.plan.nodes:
        if node.kind not in ("conv", "linear"):
            continue
        integers, found, _ = network.deployed(node)
        scale = torch.as_tensor(found.scale)
        assert scale.dim() == (grid == "power-of-two")
        assert grid == "per-tensor" or torch.equal(scale.log2().round().exp2(), scale)
        folded = network.folded(node)[0].detach()
        steps = folded / found.along(scale, folded)
        inside = (steps > -8) & (steps < 7)
        assert inside.any()
        assert ((integers - 8) - steps)[inside].abs().max() <= 0.501
    image = float(network.input_grid(network.plan.nodes[0]).scale)
    assert grid == "per-tensor" or image == 1 / 32  # from -3 to 3, with a sign


def test_parameters_are_copies() -> None:
    plan = small_plan()
    values = {slot.name: torch.randn(slot.shape) for slot in plan.slots}
    network = Network(plan, values, RANGE)
    values["dense/weight"].zero_()
    assert network.slots["dense/weight"].all()


@pytest.mark.parametrize(
    ("bits", "most", "learned"),
    [
        (2, 0.2, True),
        (4, 0.02, True),
        (4, 0.02, False),
        (8, 0.001, True),
        (8, 0.001, False),
    ],
)
def test_a_channel_without_negative_weights_has_steps_with_a_sign(bits: int, most: float, learned: bool) -> None:
    """So its largest weights lie on the grid."""
    network = small_network(Bits(bits, 8), weights=Grids(learned=learned))
    smoothing = torch.outer(*[torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])] * 2) / 256
    network.slots["depthwise/weight"].data[0, 0] = smoothing
    network.fit_weight_steps()
    node = next(node for node in network.plan.nodes if node.name == "depthwise")
    rounded = network.rounded_weight(node)[0, 0]
    assert ((rounded - smoothing).square().sum() / smoothing.square().sum()).item() < most


def test_an_output_with_a_sign_that_is_never_negative_has_a_step_with_a_sign() -> None:
    builder = Builder(Task((3, 8, 8), 4), False, Bits(4, 4))
    plan = builder.classifier(builder.conv("linear", 0, 6, 3, relu=False))
    values = {slot.name: torch.full(slot.shape, 0.1) for slot in plan.slots}
    network, images = Network(plan, values, (0.0, 1.0)), torch.rand(16, 3, 8, 8)
    network.calibrate([images])
    with torch.no_grad():
        outputs = network.eval().layer(plan.nodes[1], images, {})
    assert outputs.min() > 0
    assert 7 * network.step(plan.nodes[1]).item() == pytest.approx(outputs.max().item(), rel=0.01)
