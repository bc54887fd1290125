"""How a tensor's numbers lie, as a whole and channel by channel: what its grid has to hold.

Yun and Wong plot range and average precision layer by layer (figures 3 to 6). They give no equation for the latter; it
is taken as Nagel et al. (2019) define a channel's precision in data-free quantization. Ranges contain 0, as grids do.

| symbol | meaning |
|---|---|
| r_i | range of channel i |
| R | range of the whole tensor, so that equation 2 gives the step R / (2^N - 1) |
"""

from dataclasses import dataclass

from torch import Tensor

from qnas.quant.ranges import Fit, range_of


@dataclass(frozen=True)
class Distribution:
    """A tensor at a glance.

    Args:
        range: R, in the tensor's unit.
        precision: average precision, the mean of r_i / R over the channels: 1 where every channel uses the whole grid.
        mismatch: how many bits the median channel loses to sharing one grid with the others: log2 of R / r_i. Channels
            that are 0 throughout lose nothing and do not count.
        kurtosis: fourth standardised moment of all numbers: 1.8 if they are uniform, 3 if normal, more with outliers.
    """

    range: float
    precision: float
    mismatch: float
    kurtosis: float


def distribution(x: Tensor, axis: int = 0, fit: Fit = "absolute") -> Distribution:
    """How a tensor's numbers lie.

    Args:
        x: real tensor, any shape.
        axis: the dimension of its channels.
        fit: how ranges are found: ``absolute``, or ``percentile`` as the paper finds those of activations.
    """
    channels, whole = span(*range_of(x, fit, axis=axis)), span(*range_of(x, fit))
    used = channels[channels > 0]
    if whole == 0 or not len(used):
        return Distribution(whole.item(), 0.0, 0.0, kurtosis(x))
    shares = (channels / whole).clamp(max=1)  # clipped, a rare channel's own range may be the larger
    lost = (whole.log2() - used.log2().quantile(0.5)).clamp(min=0)
    return Distribution(whole.item(), shares.mean().item(), lost.item(), kurtosis(x))


def span(low: Tensor, high: Tensor) -> Tensor:
    """The length of ranges, each widened to contain 0."""
    return high.clamp(min=0) - low.clamp(max=0)


def kurtosis(x: Tensor) -> float:
    """Fourth standardised moment of all numbers of a tensor; 0 where they are all the same."""
    apart = x.double() - x.double().mean()
    variance = apart.square().mean()
    return (apart.pow(4).mean() / variance.square()).item() if variance > 0 else 0.0
