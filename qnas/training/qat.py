"""Quantization-aware training of one network, from predicted or random parameters.

The first part of a run trains with the statistics of each batch; the last part with batch norms frozen to their moving
averages, so that what is trained at the end is exactly what is deployed.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qnas.data.images import DataSet, Images
from qnas.network.build import Architecture, build_plan
from qnas.network.initial import Predictor
from qnas.network.module import Network, has_weights
from qnas.network.plan import Node, Plan
from qnas.quant.scheme import FP32, HIGHEST, Bits
from qnas.scores.accuracy import Accuracy, accuracy
from qnas.training.guard import Guard
from qnas.training.muon import Muon
from qnas.training.recipe import Recipe
from qnas.training.schedule import learning_rate
from qnas.training.start import batches_of, calibrate, precision_of, untrained

log = logging.getLogger("qnas")
SLOWER = 0.3
"""What the learning rate is multiplied by after a collapse."""
TEMPERATURE = 4.0
"""Of the teacher's and the network's answers while they are compared."""


class Training:
    """One network in training.

    Args:
        network: calibrated, at the bit widths that it is to have in the end.
        data: whose ``train`` part is used.
        recipe: how.
        seed: of the order of the images and how they are augmented.
        teacher: whose answers count by the recipe's ``distillation``, if there is one.
    """

    def __init__(self, network: Network, data: DataSet, recipe: Recipe, seed: int, teacher: Network | None = None):
        self.network, self.data, self.recipe, self.seed, self.teacher = network, data, recipe, seed, teacher
        self.plan, self.least, self.done = network.plan, 1, 0
        network.precision = precision_of(recipe, data.train.pixels.device)
        self.optimizer = _optimizer(network, recipe)
        self.batches = batches_of(data, recipe, seed)
        self.parameters: list[Tensor] = list(network.parameters())
        self.averages = [parameter.detach().clone() for parameter in self.parameters] if recipe.averaging else []
        self.guard = Guard(recipe.steps, self.plan.classes)

    def step(self) -> Tensor:
        """One update; returns the loss, a scalar."""
        recipe, network = self.recipe, self.network
        progress = self.done / recipe.steps
        self._descend(progress)
        network.train()
        network.frozen = progress >= 1 - recipe.frozen_share
        for group in self.optimizer.param_groups:
            rate = recipe.rate * (SLOWER if self.guard.was_lost else 1)
            group["lr"] = learning_rate(progress, rate, recipe.warm_up, schedule=recipe.schedule)
        images, labels = next(self.batches)
        loss = self._loss(images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        if recipe.damping:
            self._damp(progress)
        nn.utils.clip_grad_norm_(self.parameters, recipe.clip)
        self.optimizer.step()
        self.done += 1
        if self.averages:
            torch._foreach_lerp_(self.averages, self.parameters, 1 - min(recipe.averaging, self.done / (self.done + 9)))
        self.guard.note(loss.detach())
        if self.done % self.guard.every == 0:
            self._watch()
        return loss.detach()

    def _watch(self) -> None:
        """Hold a good state; go back to the last one, once, where the run is lost."""
        if not self.guard.is_lost():
            self.guard.keep(self._own_state())
        elif self.guard.good and not self.guard.was_lost:
            lost_at = self.done
            self._load_own(self.guard.good)
            self.guard = Guard(self.recipe.steps, self.plan.classes)
            self.guard.was_lost = True
            log.warning(
                "Training collapsed before step %d; it goes on from step %d at a rate %g times lower.",
                lost_at, self.done, 1 / SLOWER,
            )  # fmt: skip

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def state(self) -> dict[str, Tensor]:
        """All that decides the further course, by names; ``load_state`` reads it."""
        return {**self._own_state(), **{f"guard/{name}": value for name, value in self.guard.state().items()}}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state()`` of a training of the same network, data, recipe and seed."""
        guard = {name.removeprefix("guard/"): value for name, value in state.items() if name.startswith("guard/")}
        self.guard.load_state(guard)
        self._load_own({name: value for name, value in state.items() if not name.startswith("guard/")})

    def _own_state(self) -> dict[str, Tensor]:
        state = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        state |= {f"average/{place}": value for place, value in enumerate(self.averages)}
        for place, parameter in enumerate(self.parameters):
            for name, value in self.optimizer.state[parameter].items():
                state[f"optimizer/{place}/{name}"] = value
        return {**state, "done": torch.tensor(self.done)}

    def _load_own(self, state: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimizer": {}}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if name:
                parts[kind][name] = value
        self.network.load_state_dict(parts["network"])
        for name, value in parts["average"].items():
            self.averages[int(name)].copy_(value)
        for key, value in parts["optimizer"].items():
            place, _, name = key.partition("/")
            parameter = self.parameters[int(place)]
            self.optimizer.state[parameter][name] = value.to(parameter.device, copy=True)
        self.done = int(state["done"])
        self.least = self._least_bits(max(0, self.done - 1) / self.recipe.steps)
        self.network.plan = raised(self.plan, self.least)
        self.batches = batches_of(self.data, self.recipe, self.seed, self.done)

    def finish(self) -> Network:
        """The trained network, frozen, in evaluation mode."""
        network = self.network
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.averages, strict=bool(self.averages)):
                parameter.copy_(average)
        self._descend(1.0)
        if self.recipe.reestimation:
            reestimate(network, islice(self.batches, self.recipe.reestimation))
        network.frozen = True
        return network.eval()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.smoothing)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            answers = (self.teacher(images) / TEMPERATURE).log_softmax(1)
        distance = F.kl_div((logits / TEMPERATURE).log_softmax(1), answers, reduction="batchmean", log_target=True)
        share = self.recipe.distillation
        return (1 - share) * loss + share * TEMPERATURE**2 * distance

    def _descend(self, progress: float) -> None:
        """Give the network the bit widths of this part of the run; steps are set anew where they change."""
        least = self._least_bits(progress)
        if least != self.least:
            self.least, self.network.plan = least, raised(self.plan, least)
            calibrate(self.network, batches_of(self.data, self.recipe, self.seed + 1, self.done), self.recipe)

    def _least_bits(self, progress: float) -> int:
        return least_bits(progress, self.recipe.descent, self.plan)

    @torch.no_grad()
    def _damp(self, progress: float) -> None:
        """Add the pull to the nearer step, which grows over the run, to the gradients of the weights."""
        pull = self.recipe.damping * progress
        for node in self.network.plan.nodes:
            if has_weights(node) and not node.bits.is_float:
                weight, grid = self.network.slots[f"{node.name}/weight"], self.network.weight_grid(node)
                whole = weight if self.network.grids.choice.is_symmetric else self.network.folded(node)[0]
                steps = (whole / grid.along(grid.scale, whole)).clamp(*grid.ends(whole))  # type: ignore[arg-type]
                assert weight.grad is not None
                weight.grad.add_(steps - steps.round(), alpha=pull)


@torch.no_grad()
def reestimate(network: Network, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Measure the averages of batch norms anew, with the parameters as they are, as the mean over some batches."""
    network.train()
    network.frozen, usual = False, network.momentum
    for number, (images, _) in enumerate(batches, 1):
        network.momentum = 1 / number
        network(images)
    network.momentum = usual


def least_bits(progress: float, descent: float, plan: Plan) -> int:
    """The fewest bits of this part of a run: 8, then 4, for equal parts of ``descent``; 1 after that."""
    narrowest = min(min(node.bits.weights, node.bits.activations) for node in plan.nodes)
    stages = [bits for bits in (HIGHEST, 4, 2) if bits > narrowest]
    if progress >= descent or not stages:
        return 1
    return stages[int(progress / descent * len(stages))]


def raised(plan: Plan, least: int) -> Plan:
    """The plan with at least so many bits everywhere."""
    nodes = tuple(
        node._replace(bits=Bits(max(node.bits.weights, least), max(node.bits.activations, least)))
        if not node.bits.is_float
        else node
        for node in plan.nodes
    )
    return replace(plan, nodes=nodes)


def train_network(
    network: Architecture | Plan,
    data: DataSet,
    recipe: Recipe,
    seed: int,
    ghn: Predictor | None = None,
    report: Callable[[Tensor], None] = lambda loss: None,
) -> Network:
    """Train a network at its bit widths on the data set's training images, where they lie.

    Args:
        network: with bit widths.
        data: whose ``train`` part is used.
        recipe: how.
        seed: of initialization, noise and the order of the images.
        ghn: predicts the initial parameters; without it they are random.
        report: called after each step with its loss, a scalar.

    Returns:
        The trained network, frozen, in evaluation mode.
    """
    plan = network if isinstance(network, Plan) else build_plan(network, data.task)
    training = begun(plan, data, recipe, seed, ghn)
    while training.done < training.recipe.steps:
        report(training.step())
    return training.finish()


def begun(plan: Plan, data: DataSet, recipe: Recipe, seed: int, ghn: Predictor | None = None) -> Training:
    """The training of a plan before its first step; where a teacher is asked for, after the teacher's."""
    if not recipe.distillation:
        return Training(untrained(plan, data, recipe, seed, ghn), data, recipe, seed)
    teacher = teacher_of(plan, data, recipe, seed, ghn)
    recipe = recipe.of(max(1, round(recipe.steps * (1 - recipe.teacher_share))))
    network = untrained(plan, data, recipe, seed, ghn)
    network.slots.load_state_dict(teacher.slots.state_dict())  # what it has learned is a better start than its own
    calibrate(network, batches_of(data, recipe, seed), recipe)
    return Training(network, data, recipe, seed, teacher)


def teacher_of(plan: Plan, data: DataSet, recipe: Recipe, seed: int, ghn: Predictor | None) -> Network:
    """The network in float, trained for the teacher's share of a run by the same recipe."""
    steps = max(1, round(recipe.steps * recipe.teacher_share))
    in_float = replace(plan, nodes=tuple(node._replace(bits=FP32) for node in plan.nodes))
    alone = replace(recipe.of(steps), distillation=0.0, descent=0.0, damping=0.0)
    return train_network(in_float, data, alone, seed, ghn)


def _optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    turned = {f"{node.name}/weight" for node in network.plan.nodes if is_turned(node, recipe)}
    weights = {name: value for name, value in network.slots.items() if name.endswith("/weight")}
    others = [value for name, value in network.slots.items() if name not in weights]
    decay = {"weight_decay": recipe.weight_decay}
    groups: list[dict[str, Any]] = [
        {"params": [value for name, value in weights.items() if name in turned], **decay, "orthogonal": True},
        {"params": [value for name, value in weights.items() if name not in turned], **decay},
        {"params": [*others, *network.log_steps.values(), *network.log_weight_steps.values()], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.rate, momentum=0.9, nesterov=True, fused=True)
    return Muon(groups)


def is_turned(node: Node, recipe: Recipe) -> bool:
    """Whether a recipe trains a layer by Muon: a convolution that mixes channels; ``auto`` leaves 2-bit ones out."""
    mixes = node.kind == "conv" and node.channels_in > node.groups
    return mixes and (recipe.optimizer == "muon" or (recipe.optimizer == "auto" and node.bits.weights > 2))


def deployed_accuracy(network: Network, images: Images) -> Accuracy:
    """Accuracy of a trained network with its frozen statistics and ranges."""
    return accuracy(network, images, batch=256)
