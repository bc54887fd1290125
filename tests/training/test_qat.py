"""Training of one network: its loss on digits, its seed, and a predicted start against a random one."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.module import Network
from qnas.quant.scheme import FP32, Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.qat import begun, deployed_accuracy, train_network
from qnas.training.recipe import Recipe
from qnas.training.start import untrained

EASY = Genotype(3, 1, 8, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "sep_conv", 3)),))
STEPS = 30


@pytest.fixture(scope="module")
def ghn() -> GHN:
    return load_checkpoint("digits").ghn


@torch.no_grad()
def loss_of(network: Network, data: DataSet) -> float:
    images, labels = data.train.batch(slice(None))
    return F.cross_entropy(network(images), labels).item()


def trained(data: DataSet, bits: Bits, steps: int, seed: int = 0, ghn: GHN | None = None) -> Network:
    """A network after some steps; after none, as training begins with it, but ready for use."""
    genotype = EASY.with_bits(bits)
    if steps:
        return train_network(genotype, data, Recipe(steps), seed, ghn)
    network = untrained(build_plan(genotype, data.task), data, Recipe(), seed, ghn)
    network.frozen = True
    return network.eval()


@pytest.mark.parametrize("bits", [FP32, Bits(8, 8), Bits(4, 4), Bits(2, 2)], ids=str)
def test_thirty_steps_reduce_the_loss(digits_data: DataSet, bits: Bits) -> None:
    before, after = (loss_of(trained(digits_data, bits, steps), digits_data) for steps in (0, STEPS))
    assert after < 0.75 * before


def test_the_same_seed_gives_the_same_network(digits_data: DataSet) -> None:
    first, again = (trained(digits_data, Bits(4, 4), 5).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_another_seed_gives_another_network(digits_data: DataSet) -> None:
    first, other = (trained(digits_data, Bits(4, 4), 5, seed).slots["stem/weight"] for seed in (0, 1))
    assert not torch.equal(first, other)


def test_the_same_seed_gives_the_same_network_from_a_prediction(digits_data: DataSet, ghn: GHN) -> None:
    first, again = (trained(digits_data, Bits(4, 4), 3, ghn=ghn).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_training_does_not_touch_the_global_random_state(digits_data: DataSet) -> None:
    before = torch.get_rng_state()
    trained(digits_data, Bits(4, 4), 2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("bits", [FP32, Bits(4, 4)], ids=str)
def test_a_predicted_start_beats_a_random_one(digits_data: DataSet, ghn: GHN, bits: Bits) -> None:
    predicted, random = (trained(digits_data, bits, 0, ghn=start) for start in (ghn, None))
    ours, theirs = (deployed_accuracy(network, digits_data.validation).top1 for network in (predicted, random))
    assert ours > theirs + 10
    assert ours > 20  # chance is 10


def test_a_trained_network_is_frozen_and_evaluated(digits_data: DataSet) -> None:
    network = trained(digits_data, Bits(4, 4), 2)
    assert network.frozen
    assert not network.training


def test_the_last_part_trains_with_frozen_averages(digits_data: DataSet) -> None:
    averages: list[torch.Tensor] = []

    def note(module: torch.nn.Module, images: object, logits: object) -> None:
        if isinstance(module, Network):
            averages.append(module.get_buffer("stem/mean").clone())

    with register_module_forward_hook(note):
        train_network(EASY, digits_data, Recipe(4, frozen_share=0.5), 0)
    assert len(averages) == 4
    assert not torch.equal(averages[0], averages[1])
    assert torch.equal(averages[1], averages[3])


def test_every_loss_is_told_in_order(digits_data: DataSet) -> None:
    told: list[torch.Tensor] = []
    train_network(EASY, digits_data, Recipe(4), 0, report=told.append)
    training = begun(build_plan(EASY, digits_data.task), digits_data, Recipe(4), 0)
    assert torch.equal(torch.stack(told), torch.stack([training.step() for _ in range(4)]))


def test_only_weights_decay(digits_data: DataSet) -> None:
    made: list[torch.optim.Optimizer] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: made.append(optimizer))
    network = train_network(EASY.with_bits(Bits(4, 4)), digits_data, Recipe(1, weight_decay=0.25), 0)
    hook.remove()
    decay = {id(value): group["weight_decay"] for group in made[0].param_groups for value in group["params"]}
    for name, value in network.named_parameters():
        assert decay[id(value)] == (0.25 if name.endswith("/weight") else 0.0), name


def test_the_deployed_accuracy_is_that_of_the_frozen_network(digits_data: DataSet) -> None:
    network = trained(digits_data, Bits(4, 4), 5)
    images, labels = digits_data.validation.batch(slice(None))
    expected = 100 * (network(images).argmax(1) == labels).float().mean().item()
    assert deployed_accuracy(network, digits_data.validation).top1 == pytest.approx(expected, abs=0.3)


def test_the_trained_parameters_are_those_of_the_plan(digits_data: DataSet) -> None:
    network = trained(digits_data, FP32, 0)
    plan = build_plan(EASY, digits_data.task)
    shapes = {name: tuple(value.shape) for name, value in network.slots.items()}
    assert shapes == {slot.name: slot.shape for slot in plan.slots}


@pytest.mark.parametrize("descent", [0.5, 1.0])
def test_bits_that_go_down_end_at_the_networks_own(digits_data: DataSet, descent: float) -> None:
    network = train_network(EASY.with_bits(Bits(2, 2)), digits_data, Recipe(4, descent=descent), 0)
    assert {str(node.bits) for node in network.plan.nodes[1:]} == {"w2a2"}


@pytest.mark.parametrize("grid", ["per-channel", "asymmetric"])
def test_damping_pulls_weights_to_the_step_that_they_are_rounded_to_and_no_clipped_one(
    digits_data: DataSet, grid: str
) -> None:
    """By the weight that is rounded: a symmetric one as it is, an asymmetric one after folding."""
    training = begun(build_plan(EASY.with_bits(Bits(4, 4)), digits_data.task), digits_data, Recipe(grid=grid), 0)
    network = training.network
    stem = network.slots["stem/weight"]
    stem.data[0] *= 1 if grid == "asymmetric" else 100  # beyond the ends, as steps stay
    pulls = []
    for damping in (0.0, 1e-2):
        training.recipe = Recipe(grid=grid, damping=damping)
        for value in network.parameters():
            value.grad = torch.zeros_like(value)
        training._damp(1.0)
        pulls.append(stem.grad.clone() if stem.grad is not None else torch.zeros_like(stem))
    node = next(node for node in network.plan.nodes if node.name == "stem")
    used = network.weight_grid(node)
    whole = (stem if grid == "per-channel" else network.folded(node)[0]).detach()
    steps = whole / used.along(used.scale, whole)
    lowest, highest = (torch.as_tensor(end) for end in used.ends(whole))
    clipped = (steps < lowest) | (steps > highest)
    assert clipped[0].any() == (grid == "per-channel")
    expected = torch.where(clipped, 0.0, 1e-2 * (steps - steps.round()))
    assert not pulls[0].any()
    assert pulls[1].abs().max() <= 0.5e-2
    torch.testing.assert_close(pulls[1], expected)
