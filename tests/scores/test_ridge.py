"""The classifier in closed form, held against scikit-learn and against fits that really leave an image out."""

import numpy as np
import torch
from sklearn.linear_model import Ridge as Reference

from qnas.scores.ridge import SHARPNESS, fit_ridge


def images(count: int = 40, width: int = 7, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    return centres[labels] + torch.randn(count, width, generator=generator, dtype=torch.float64), labels


def penalty(features: torch.Tensor, stiffness: float) -> float:
    return stiffness * (features - features.mean(0)).square().sum(1).mean().item()


def test_it_is_ridge_regression_of_the_classes_times_a_sharpness() -> None:
    features, labels = images()
    fitted = fit_ridge(features, labels, 3, 0.5)
    reference = Reference(penalty(features, 0.5), solver="cholesky").fit(features.numpy(), np.eye(3)[labels.numpy()])
    ratio = fitted.weight.numpy() / reference.coef_
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)
    assert any(abs(ratio[0, 0] - factor) < 1e-9 for factor in SHARPNESS)
    expected = ratio[0, 0] * reference.predict(features.numpy())
    np.testing.assert_allclose((features @ fitted.weight.T + fitted.bias).numpy(), expected, atol=1e-9)


def test_left_out_answers_are_those_of_fits_without_the_image() -> None:
    features, labels = images()
    fitted, alpha = fit_ridge(features, labels, 3, 0.5), penalty(features, 0.5)
    targets = np.eye(3)[labels.numpy()]
    found = []
    for image in range(len(features)):
        others = [place for place in range(len(features)) if place != image]
        without = Reference(alpha, solver="cholesky").fit(features[others].numpy(), targets[others])
        found.append(without.predict(features[image : image + 1].numpy())[0])
    ratio = fitted.left_out.numpy() / np.array(found)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)


def test_features_that_repeat_give_the_same_answers() -> None:
    features, labels = images()
    once, twice = fit_ridge(features, labels, 3), fit_ridge(torch.cat([features, features], 1), labels, 3)
    torch.testing.assert_close(once.left_out, twice.left_out)


def test_the_sharpness_is_that_of_the_least_loss_and_noise_is_not_sharp() -> None:
    features, labels = images()
    loss = torch.nn.functional.cross_entropy
    fitted = fit_ridge(features, labels, 3)
    for factor in (0.5, 0.7, 1.5, 2.0):
        assert loss(fitted.left_out, labels) <= loss(factor * fitted.left_out, labels)
    noise = fit_ridge(torch.randn(40, 7, generator=torch.Generator().manual_seed(1)), labels, 3)
    assert noise.left_out.abs().max() < fitted.left_out.abs().max()


def test_constant_features_say_how_frequent_classes_are() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    fitted = fit_ridge(torch.ones(4, 5), labels, 3)
    assert fitted.weight.abs().max() < 1e-3
    assert fitted.left_out.isfinite().all()
    assert (torch.ones(5) @ fitted.weight.T + fitted.bias).argmax() == 0


def test_it_is_differentiable() -> None:
    features, labels = images(12, 3)
    assert torch.autograd.gradcheck(lambda x: fit_ridge(x, labels, 3), features.requires_grad_())
