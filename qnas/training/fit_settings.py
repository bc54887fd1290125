"""The settings of a hypernetwork's training, checked."""

from dataclasses import dataclass

from qnas.errors import QnasError, check_seed, shown
from qnas.quant.scheme import PAPER_BITS, Bits
from qnas.space.splits import SPLITS

BIT_SHARES = dict(zip(PAPER_BITS, (0.15, 0.10, 0.15, 0.25, 0.35), strict=True))
"""How often the quantization-aware phase trains at each of the paper's settings: the harder ones more often."""
OPTIMIZERS = ("muon", "adam")
SPLIT_SHARES = dict(zip(SPLITS, (0.7, 0.1, 0.1, 0.1), strict=True))
"""How often a network comes from each split of the space, as far as the space has it."""


@dataclass(frozen=True)
class FitSettings:
    """How a hypernetwork is trained.

    Args:
        steps: length of the run; 0 to go by ``minutes``.
        minutes: of training time.
        float_share: share of the run in float, before quantization-aware.
        meta_batch: networks a step.
        batch: images a network and step.
        rate: highest learning rate in float.
        quantized_rate: highest learning rate after that.
        weight_decay: where ``adam`` is the optimizer; ``muon`` has none.
        clip: longest gradient, of one network's parameters and of the hypernetwork.
        optimizer: ``muon`` for the matrices, or ``adam`` for all weights as in GHN-2.
        average: decay of the moving average of the weights, which is what a checkpoint holds.
        bits: train at this width only; empty for a draw by ``BIT_SHARES``.
        mixed_share: share of the quantized networks whose layers each have widths of their own; none beside ``bits``.
        splits: shares of the splits, such as ``id=0.8,deep=0.2``; empty for ``SPLIT_SHARES``.
        noise: bit widths, such as ``w2a2,w4a4``, at which quantization is modelled as noise instead of rounding; a
            network of several widths is rounded unless all of them are among these.
        closed_head: share of the loss that is a classifier's in closed form (``qnas.scores.ridge``), fitted to the
            other images of the batch, instead of the predicted one's.
        repeats: how often a drawn network is trained, each time on other images. From three on a GPU is several times
            faster, as it replays their passes.
        seed: of everything random.

    Raises:
        QnasError: a value is out of range.
    """

    steps: int = 0
    minutes: float = 10.0
    float_share: float = 0.0
    meta_batch: int = 8
    batch: int = 32
    rate: float = 2e-3
    quantized_rate: float = 4e-3
    weight_decay: float = 1e-5
    clip: float = 5.0
    optimizer: str = "muon"
    average: float = 0.998
    bits: str = ""
    mixed_share: float = 0.15
    splits: str = ""
    noise: str = ""
    closed_head: float = 0.0
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.steps < 0 or (self.steps == 0 and self.minutes <= 0):
            raise QnasError(
                f"A fit needs a length, got {self.minutes} minutes and {self.steps} steps; "
                "give `minutes` or `steps` above 0."
            )
        if not 0 <= self.float_share <= 1:
            raise QnasError(
                f"`float_share` is a share of the run, 0 to 1, got {self.float_share}; leave it out for "
                f"{FitSettings.float_share}."
            )
        if not 0 <= self.mixed_share <= 1:
            raise QnasError(
                f"`mixed_share` is a share of the networks, 0 to 1, got {self.mixed_share}; leave it out for "
                f"{FitSettings.mixed_share}."
            )
        if not 0 <= self.closed_head < 1:
            raise QnasError(
                f"`closed_head` is a share of the loss, 0 to below 1, got {self.closed_head}; leave it out for "
                f"{FitSettings.closed_head}."
            )
        if min(self.meta_batch, self.batch) < 1 or min(self.rate, self.quantized_rate) <= 0:
            raise QnasError("Batches and learning rates must be positive; leave them out for the defaults.")
        if self.optimizer not in OPTIMIZERS:
            raise QnasError(
                f"A hypernetwork's optimizer is one of {', '.join(OPTIMIZERS)}, got {shown(self.optimizer)}; leave it "
                f"out for {FitSettings.optimizer}."
            )
        if self.repeats < 1:
            raise QnasError(f"`repeats` is 1 or more times that a network is trained, got {self.repeats}; 1 is usual.")
        if not 0 <= self.average < 1:
            raise QnasError(f"`average` is a decay, 0 to below 1, got {self.average}; {FitSettings.average} is usual.")
        _ = (self.bit_shares, self.split_shares, self.noisy)

    @property
    def bit_shares(self) -> dict[Bits, float]:
        """How often each bit width is trained at."""
        return {Bits.parse(self.bits): 1.0} if self.bits else BIT_SHARES

    @property
    def split_shares(self) -> dict[str, float]:
        """How often a network comes from each split."""
        if not self.splits:
            return SPLIT_SHARES
        shares = {}
        for item in self.splits.split(","):
            name, _, share = item.partition("=")
            try:
                shares[name.strip()] = float(share)
            except ValueError:
                shares[name.strip()] = -1.0
        if not set(shares) <= set(SPLITS) or min(shares.values()) < 0 or sum(shares.values()) == 0:
            raise QnasError(
                f"`splits` names splits ({', '.join(SPLITS)}) with their shares, got {self.splits!r}; "
                "write for example id=0.8,deep=0.2."
            )
        return shares

    @property
    def noisy(self) -> set[Bits]:
        """The bit widths that are trained with noise."""
        return {Bits.parse(item.strip()) for item in self.noise.split(",")} if self.noise else set()
