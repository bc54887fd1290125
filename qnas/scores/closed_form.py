"""Predicted backbones with classifiers in closed form: for images of any classes, and no training step."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qnas.checkpoints.store import Checkpoint
from qnas.data.batches import evaluation_batches
from qnas.data.images import DataSet, Images
from qnas.network.arithmetic import FloatArithmetic, static_on, weight_grid
from qnas.network.forward import classified, features
from qnas.network.initial import Predictor
from qnas.network.plan import CLASSIFIER, Plan
from qnas.network.tiles import copies
from qnas.quant.choices import GridChoice, grid_of
from qnas.scores.race import CALIBRATION_IMAGES, batch_on
from qnas.scores.ridge import fit_ridge

if TYPE_CHECKING:
    from qnas.ghn.model import GHN

FITTED_IMAGES = 2_000
"""Training images that a classifier is fitted to at most."""


def predictor_for(checkpoint: Checkpoint, data: DataSet, grid: GridChoice | None = None) -> Predictor:
    """A checkpoint's hypernetwork, on the device of the data, if it was trained for them; else with ``ClosedForm``.

    Args:
        checkpoint: of the hypernetwork.
        data: whose networks are predicted.
        grid: see ``ClosedForm``.
    """
    ghn = checkpoint.ghn.to(data.train.pixels.device)
    return ghn if is_at_home(checkpoint, data) else ClosedForm(ghn, data.train, grid)


def is_at_home(checkpoint: Checkpoint, data: DataSet) -> bool:
    """Whether a hypernetwork was trained for these data: of this name, and of these classes."""
    known = checkpoint.task
    named = not known.names or known.names == data.task.names  # of the digits' checkpoint nobody wrote down its classes
    return named and (checkpoint.data, known.classes) == (data.name, data.task.classes)


class ClosedForm:
    """Predicts all parameters of networks: a hypernetwork's, but for the classifier, which is fitted to images.

    Args:
        ghn: predicts; it may have been trained for other classes.
        images: to fit to, ``FITTED_IMAGES`` of them, on the hypernetwork's device.
        grid: of the weights, where the fitted classifiers are to be right; if none, the hypernetwork's.
    """

    fits_classes = True

    def __init__(self, ghn: "GHN", images: Images, grid: GridChoice | None = None) -> None:
        self.ghn, self.images, self.weights = ghn, images.drawn(FITTED_IMAGES), ghn.weights
        self.grid = grid or grid_of(ghn.weights)

    @torch.no_grad()
    def __call__(self, plans: list[Plan], whole: bool = True) -> list[Mapping[str, Tensor]]:
        """Parameters of every plan, by slot name; see ``GHN.forward``."""
        known = [with_classes(plan, self.ghn.config.classes) for plan in plans]
        predicted = self.ghn(known, whole=whole)
        return [self.completed(plan, parameters) for plan, parameters in zip(plans, predicted, strict=True)]

    def completed(self, plan: Plan, backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameters with a classifier that is fitted to what the plan's backbone makes of the images."""
        calibration, _ = self.images.batch(slice(0, CALIBRATION_IMAGES))
        arithmetic = static_on(plan, backbone, calibration, self.grid)
        batches = evaluation_batches(self.images, batch_on(calibration.device))
        read = torch.cat([features(plan, backbone, x, arithmetic) for x, _ in batches])
        ridge, last = fit_ridge(read, self.images.labels, plan.classes), plan.nodes[-1]
        weight, bias = ridge.weight / copies(read.shape[1], last.channels_in).to(read), ridge.bias
        fitted = {**backbone, f"{CLASSIFIER}/weight": weight, f"{CLASSIFIER}/bias": bias}
        if last.bits.is_float:
            return fitted
        on_grid = {**fitted, f"{CLASSIFIER}/weight": weight_grid(weight, last.bits.weights, self.grid).round(weight)}
        exact, rounded = (classified(plan, read, one, FloatArithmetic()) for one in (fitted, on_grid))
        shift = (exact - rounded).mean(0)  # of the classes against one another, by rounding the weight
        return {**fitted, f"{CLASSIFIER}/bias": bias + shift}


def with_classes(plan: Plan, classes: int) -> Plan:
    """The plan with a classifier of another number of classes."""
    if plan.classes == classes:
        return plan
    last = plan.nodes[-1]._replace(shape=(classes, 1, 1))
    slots = tuple(
        slot._replace(shape=(classes, *slot.shape[1:])) if slot.node == len(plan.nodes) - 1 else slot
        for slot in plan.slots
    )
    return replace(plan, nodes=(*plan.nodes[:-1], last), slots=slots, classes=classes)
