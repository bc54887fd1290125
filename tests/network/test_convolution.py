"""The rewritten convolution held against torch's own, forward and backward, in float64."""

import pytest
import torch
import torch.nn.functional as F

from qnas.network.convolution import conv2d, from_phases, max_pool, pointwise, reachable_taps, to_phases

SIDES = (1, 2, 4, 5, 8)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("depthwise", [False, True], ids=["dense", "depthwise"])
def test_every_shape_equals_torch_forward_and_backward(
    kernel: int, stride: int, dilation: int, depthwise: bool
) -> None:
    groups, outputs = (4, 4) if depthwise else (1, 3)
    for height in SIDES:
        for width in SIDES:
            x = torch.randn(2, 4, height, width, dtype=torch.float64, requires_grad=True)
            weight = torch.randn(outputs, 4 // groups, kernel, kernel, dtype=torch.float64, requires_grad=True)
            bias = torch.randn(outputs, dtype=torch.float64, requires_grad=True)
            expected = F.conv2d(x, weight, bias, stride, dilation * (kernel // 2), dilation, groups)
            found = conv2d(x, weight, bias, stride, dilation, groups)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
            gradient = torch.randn_like(expected)
            ours = torch.autograd.grad(found, (x, weight, bias), gradient)
            theirs = torch.autograd.grad(expected, (x, weight, bias), gradient)
            for mine, yours in zip(ours, theirs, strict=True):
                torch.testing.assert_close(mine, yours, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kernel", "dilation", "groups"), [(1, 1, 1), (3, 1, 1), (3, 2, 4), (7, 2, 4)])
def test_a_bias_can_be_missing(kernel: int, dilation: int, groups: int) -> None:
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    weight = torch.randn(4, 4 // groups, kernel, kernel, dtype=torch.float64)
    expected = F.conv2d(x, weight, None, 1, dilation * (kernel // 2), dilation, groups)
    torch.testing.assert_close(conv2d(x, weight, None, 1, dilation, groups), expected, rtol=1e-10, atol=1e-10)


def test_channels_last_images_give_the_same() -> None:
    x, weight = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.randn(4, 1, 5, 5, dtype=torch.float64)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(conv2d(last, weight, None, 1, 2, 4), F.conv2d(x, weight, None, 1, 4, 2, 4))


def test_a_matrix_product_is_a_1_x_1_convolution() -> None:
    x, weight = torch.randn(2, 4, 3, 5, dtype=torch.float64), torch.randn(6, 4, 1, 1, dtype=torch.float64)
    bias = torch.randn(6, dtype=torch.float64)
    torch.testing.assert_close(pointwise(x, weight, bias), F.conv2d(x, weight, bias))


@pytest.mark.parametrize(
    ("height", "width", "dilation", "rows", "columns"),
    [(8, 8, 1, 7, 7), (4, 4, 1, 7, 7), (3, 3, 1, 5, 5), (1, 8, 1, 1, 7), (4, 4, 2, 3, 3), (5, 2, 2, 5, 1)],
)
def test_taps_beyond_the_image_are_cut_off(height: int, width: int, dilation: int, rows: int, columns: int) -> None:
    weight = torch.arange(49.0).view(1, 1, 7, 7)
    middle = weight[:, :, (7 - rows) // 2 : (7 + rows) // 2, (7 - columns) // 2 : (7 + columns) // 2]
    assert torch.equal(reachable_taps(weight, height, width, dilation), middle)


def test_phases_are_every_second_row_and_column() -> None:
    x = torch.randn(3, 2, 6, 4)
    phases = to_phases(x)
    assert torch.equal(phases[:3], x[:, :, ::2, ::2])
    assert torch.equal(phases[3:6], x[:, :, ::2, 1::2])
    assert torch.equal(phases[6:9], x[:, :, 1::2, ::2])
    assert torch.equal(phases[9:], x[:, :, 1::2, 1::2])


def test_phases_are_put_back_in_place() -> None:
    x = torch.randn(3, 2, 6, 4)
    assert torch.equal(from_phases(to_phases(x), 3), x)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_a_max_pool_is_the_librarys(kernel: int, stride: int, grad: bool) -> None:
    x = torch.randn(2, 3, 7, 6).contiguous(memory_format=torch.channels_last)
    with torch.set_grad_enabled(grad):
        found = max_pool(x, kernel, stride)
    assert torch.equal(found, F.max_pool2d(x, kernel, stride, kernel // 2))
    assert found.is_contiguous(memory_format=torch.channels_last)
