"""What training begins with: initial parameters, grids and averages set by a few batches, and all its batches."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from qnas.data.batches import Augmentation, training_batches
from qnas.data.images import DataSet, Images
from qnas.devices import multiplies_bfloat16
from qnas.network.forward import Parameters
from qnas.network.grids import Grids
from qnas.network.initial import Predictor, as_large_as_random, he_parameters, with_noise
from qnas.network.module import Network
from qnas.network.plan import Plan
from qnas.quant.grid import Sharing
from qnas.training.recipe import Recipe

Batch = tuple[Tensor, Tensor]


class Kept:
    """Predicts what is known already, such as the parameters of a trained network.

    Args:
        parameters: whole, by slot name.
    """

    weights: Sharing = "channel"
    fits_classes = False

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = dict(parameters)

    def __call__(self, plans: list[Plan], whole: bool = True) -> list[dict[str, Tensor]]:
        """The same for every plan."""
        return [self.parameters for _ in plans]


def initial_parameters(
    plan: Plan, ghn: Predictor | None, noise: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Predicted parameters with a little noise on the weights, or random ones where there is no hypernetwork.

    Predicted weights get the size of random ones, those that are known already keep theirs.
    """
    if ghn is None:
        return he_parameters(plan, generator)
    with torch.no_grad():
        parameters = {name: value.cpu() for name, value in ghn([plan])[0].items()}
    if not isinstance(ghn, Kept):
        parameters = as_large_as_random(plan, parameters)
    return with_noise(plan, parameters, noise, generator)


def input_range(images: Images) -> tuple[float, float]:
    """Lowest and highest normalised value over the training images."""
    low, high = images.pixels.amin((0, 2, 3), keepdim=True).float(), images.pixels.amax((0, 2, 3), keepdim=True).float()
    return ((low - images.mean) / images.deviation).min().item(), ((high - images.mean) / images.deviation).max().item()


def untrained(plan: Plan, data: DataSet, recipe: Recipe, seed: int, ghn: Predictor | None = None) -> Network:
    """The network that training begins with: initial parameters, steps and averages set by a few batches."""
    generator = torch.Generator().manual_seed(seed)
    parameters = initial_parameters(plan, ghn, recipe.noise, generator)
    network = Network(plan, parameters, input_range(data.train), grids_of(recipe)).to(data.train.pixels.device)
    calibrate(network, batches_of(data, recipe, seed), recipe)
    return network


def grids_of(recipe: Recipe) -> Grids:
    """How a recipe puts numbers on grids."""
    return Grids(recipe.grid, recipe.learned_weights)


def precision_of(recipe: Recipe, device: torch.device) -> torch.dtype | None:
    """In what a recipe lets a network compute dense convolutions on a device, where not in its parameters' type.

    Only where they read whole numbers, on symmetric grids; those of powers of two need all digits: many of their sums
    lie halfway between two steps.
    """
    grids = grids_of(recipe)
    wanted = recipe.precision == "bfloat16" or (recipe.precision == "auto" and multiplies_bfloat16(device))
    return torch.bfloat16 if wanted and grids.choice.is_symmetric and not grids.tie_break else None


def batches_of(data: DataSet, recipe: Recipe, seed: int, start: int = 0) -> Iterator[Batch]:
    """The training batches of a recipe, from a step on."""
    passes = recipe.steps * recipe.batch / len(data.train)
    shift = data.shift if recipe.shift and passes >= recipe.shift_from else 0
    how = Augmentation(shift, recipe.mirror and data.is_mirrored(passes), recipe.erase)
    return training_batches(data, recipe.batch, seed, how, start)


def calibrate(network: Network, batches: Iterator[Batch], recipe: Recipe) -> None:
    """Set a network's steps and averages by its weights and a few batches."""
    network.fit_weight_steps()
    network.calibrate([images for images, _ in islice(batches, recipe.calibration)])
