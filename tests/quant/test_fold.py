"""Folding held against torch's batch norm, and its moments against torch.var_mean, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.quant.fold import EPSILON, batch_moments, fold


def doubles(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


def folded_conv(x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
    mean, variance = batch_moments(F.conv2d(x, weight, None, padding=1, groups=groups))
    folded, bias = fold(weight, scale, shift, mean, variance)
    return F.conv2d(x, folded, bias, padding=1, groups=groups)


def norm_after_conv(x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, groups: int) -> Tensor:
    output = F.conv2d(x, weight, None, padding=1, groups=groups)
    return F.batch_norm(output, None, None, scale, shift, training=True, eps=EPSILON)


@pytest.mark.parametrize(("weight_shape", "groups"), [((6, 4, 3, 3), 1), ((4, 1, 3, 3), 4)], ids=["dense", "depthwise"])
def test_a_folded_convolution_equals_convolution_and_batch_norm(weight_shape: tuple[int, ...], groups: int) -> None:
    channels = weight_shape[0]
    tensors = (doubles(5, 4, 7, 6), doubles(*weight_shape), doubles(channels), doubles(channels))
    result, expected = folded_conv(*tensors, groups), norm_after_conv(*tensors, groups)
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)


def test_gradients_through_the_fold_equal_those_through_batch_norm() -> None:
    tensors = (doubles(5, 4, 7, 6), doubles(6, 4, 3, 3), doubles(6), doubles(6))
    gradient = torch.randn(5, 6, 7, 6, dtype=torch.float64)
    found = torch.autograd.grad(folded_conv(*tensors, 1), tensors, gradient)
    expected = torch.autograd.grad(norm_after_conv(*tensors, 1), tensors, gradient)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_given_statistics_are_used_as_in_evaluation() -> None:
    x, weight, scale, shift, mean = doubles(2, 3, 5, 5), doubles(4, 3, 1, 1), doubles(4), doubles(4), doubles(4)
    variance = doubles(4).square()
    folded, bias = fold(weight, scale, shift, mean, variance)
    statistics = (mean.detach(), variance.detach())
    expected = F.batch_norm(F.conv2d(x, weight), *statistics, scale, shift, training=False, eps=EPSILON)
    torch.testing.assert_close(F.conv2d(x, folded, bias), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (1, 2, 4, 4), (8, 5, 1, 1)])
def test_moments_are_those_of_torch(shape: tuple[int, ...]) -> None:
    x = doubles(*shape)
    mean, variance = batch_moments(x)
    expected_variance, expected_mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, expected_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(variance, expected_variance, rtol=1e-12, atol=1e-12)


def test_the_rounding_error_of_the_variance_is_far_below_epsilon() -> None:
    x = torch.randn(64, 2, 16, 16) + 10
    _, variance = batch_moments(x)
    expected = x.double().var((0, 2, 3), correction=0)
    torch.testing.assert_close(variance.double(), expected, rtol=0, atol=EPSILON / 20)


def test_a_variance_is_never_negative() -> None:
    _, variance = batch_moments(torch.full((8, 2, 4, 4), 33.3))
    assert (variance >= 0).all()


def test_the_gradients_of_the_moments_are_their_derivatives() -> None:
    assert torch.autograd.gradcheck(batch_moments, (doubles(3, 2, 2, 3),))
