"""Quantization-aware training of one network, from predicted or random parameters.

The first part of a run trains with the statistics of each batch; the last part with batch norms frozen to their moving
averages, so that what is trained at the end is exactly what is deployed.
"""

from collections.abc import Callable
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.batches import training_batches
from qnas.data.images import DataSet, Images
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.initial import he_parameters, with_noise
from qnas.network.module import Network
from qnas.network.plan import Plan
from qnas.scores.accuracy import Accuracy, accuracy
from qnas.space.genotype import Genotype
from qnas.training.recipe import Recipe
from qnas.training.schedule import learning_rate


def initial_parameters(plan: Plan, ghn: GHN | None, noise: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Predicted parameters with a little noise on the weights, or random ones where there is no hypernetwork."""
    if ghn is None:
        return he_parameters(plan, generator)
    with torch.no_grad():
        parameters = {name: value.cpu() for name, value in ghn([plan])[0].items()}
    return with_noise(plan, parameters, noise, generator)


def input_range(images: Images) -> tuple[float, float]:
    """Lowest and highest normalised value over the training images."""
    low, high = images.pixels.amin((0, 2, 3), keepdim=True).float(), images.pixels.amax((0, 2, 3), keepdim=True).float()
    return ((low - images.mean) / images.deviation).min().item(), ((high - images.mean) / images.deviation).max().item()


def untrained(genotype: Genotype, data: DataSet, recipe: Recipe, seed: int, ghn: GHN | None = None) -> Network:
    """The network that ``train_network`` begins with: initial parameters, steps and averages set by a few batches."""
    plan = build_plan(genotype, data.task)
    generator = torch.Generator().manual_seed(seed)
    network = Network(plan, initial_parameters(plan, ghn, recipe.noise, generator), input_range(data.train))
    network.to(data.train.pixels.device)
    calibration = training_batches(data, recipe.batch, seed)
    network.calibrate([images for images, _ in islice(calibration, recipe.calibration)])
    return network


def train_network(
    genotype: Genotype,
    data: DataSet,
    recipe: Recipe,
    seed: int,
    ghn: GHN | None = None,
    report: Callable[[int], None] = lambda step: None,
) -> Network:
    """Train a genotype at its bit widths on the data set's training images, where they lie.

    Args:
        genotype: with bit widths.
        data: whose ``train`` part is used.
        recipe: how.
        seed: of initialization, noise and the order of the images.
        ghn: predicts the initial parameters; without it they are random.
        report: called after each step with its number.

    Returns:
        The trained network, frozen, in evaluation mode.
    """
    network = untrained(genotype, data, recipe, seed, ghn)
    optimizer = torch.optim.AdamW(_groups(network, recipe), fused=True)
    batches = training_batches(data, recipe.batch, seed)
    for step, (images, labels) in enumerate(islice(batches, recipe.steps)):
        network.frozen = step >= recipe.steps * (1 - recipe.frozen_share)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step / recipe.steps, recipe.rate)
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimizer.step()
        report(step + 1)
    network.frozen = True
    return network.eval()


def _groups(network: Network, recipe: Recipe) -> list[dict[str, object]]:
    weights = [value for name, value in network.slots.items() if name.endswith("/weight")]
    others = [value for name, value in network.slots.items() if not name.endswith("/weight")]
    return [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": [*others, *network.log_steps.values()], "weight_decay": 0.0},
    ]


def deployed_accuracy(network: Network, images: Images) -> Accuracy:
    """Accuracy of a trained network with its frozen statistics and ranges."""
    return accuracy(network, images, batch=256)
