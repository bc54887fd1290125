"""A classifier in closed form: ridge regression of the classes on a network's features.

Each class is 1 for its own images and 0 for all others. The answers are made as sharp as fits them best, judged on
images that were left out of the fit. Differentiable in the features (Bertinetto et al., 2019).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STIFFNESS = 1.0
"""The penalty on squared weights, relative to the mean squared length of the features."""
SHARPNESS = tuple(2 ** (step / 2) for step in range(15))
"""What answers are multiplied by to make logits: one of these."""


class Ridge(NamedTuple):
    """A fitted classifier; logits are ``features @ weight.T + bias``.

    ``weight``: (classes, width). ``bias``: (classes,). ``left_out``: (images, classes): for every image the logits of
    the classifier that would have been fitted without it.
    """

    weight: Tensor
    bias: Tensor
    left_out: Tensor


def fit_ridge(features: Tensor, labels: Tensor, classes: int, stiffness: float = STIFFNESS) -> Ridge:
    """Fit a classifier.

    Args:
        features: (images, width); two images at least.
        labels: (images,), from 0.
        classes: how many there are.
        stiffness: see ``STIFFNESS``.
    """
    targets = F.one_hot(labels, classes).to(features.dtype)
    middle, share = features.mean(0), targets.mean(0)
    x, y = features - middle, targets - share
    penalty = stiffness * x.square().sum(1).mean() + torch.finfo(x.dtype).tiny
    solved = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1]).to(x), torch.cat([x.T @ y, x.T], 1))
    weight, projection = solved[:, :classes], solved[:, classes:].T
    pull = ((x * projection).sum(1) + 1 / len(x)).clamp(max=1 - 1e-4)[:, None]  # of an image on its own answer
    left_out = (x @ weight + share - pull * targets) / (1 - pull)
    sharpness = _sharpness(left_out.detach(), labels)
    return Ridge(sharpness * weight.T, sharpness * (share - middle @ weight), sharpness * left_out)


def _sharpness(answers: Tensor, labels: Tensor) -> Tensor:
    """The factor of ``SHARPNESS`` at which cross-entropy is least: a scalar."""
    factors = torch.tensor(SHARPNESS, dtype=answers.dtype, device=answers.device)
    logs = (factors[:, None, None] * answers).log_softmax(2)
    right = logs.gather(2, labels[None, :, None].expand(len(factors), -1, 1))
    return factors[right.mean((1, 2)).argmax()]
