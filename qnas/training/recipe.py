"""How one network is trained: a recipe, checked, with a TOML form. Knows no tensor."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from qnas.digest import digest_of
from qnas.errors import QnasError, did_you_mean, shown
from qnas.quant.choices import GRIDS, USUAL, with_grid
from qnas.runs.reading import read_toml

CHOICES = {
    "optimizer": ("auto", "adamw", "muon", "sgd"),
    "schedule": ("cosine", "linear"),
    "grid": tuple(GRIDS),
    "precision": ("auto", "float32", "bfloat16"),
}
"""What the text of an ingredient may be."""


@dataclass(frozen=True)
class Recipe:
    """Quantization-aware training of one network.

    Args:
        steps: updates.
        batch: images an update.
        optimizer: ``adamw`` (Loshchilov and Hutter, 2019); ``muon`` (Jordan et al., 2024) for convolutions that mix
            channels, and AdamW for all else; ``auto``: likewise, but AdamW for those with weights of 2 bits; or
            ``sgd``: with Nesterov's momentum of 0.9.
        rate: peak learning rate.
        schedule: how the rate falls after the warm-up: half a ``cosine``, or ``linear``.
        warm_up: share of the run in which the rate rises to its peak.
        weight_decay: of the convolutions and the classifier.
        clip: longest gradient of an update.
        smoothing: share of every label that all classes get (Szegedy et al., 2016).
        shift: whether images are shifted, where the data allow it, in runs of ``shift_from`` passes and more: shorter
            ones end before they overfit.
        shift_from: passes over the training images.
        mirror: whether images are mirrored, where the data allow it in a run of this length.
        erase: share of images that lose a random rectangle (Zhong et al., 2020).
        grid: of weights and activations, one of ``qnas.quant.choices.GRIDS``: ``per-channel``, ``per-tensor``,
            ``asymmetric`` (the paper's), or ``power-of-two``.
        learned_weights: whether the steps of symmetric weights are trained (Esser et al., 2020); of activations always.
        descent: share of the run in which bits go down to the network's own, 8, 4, 2 (Zhuang et al., 2018).
        damping: of weights that hang between two steps (Nagel et al., 2022): the pull to the nearer one.
        distillation: weight of a float teacher's answers in the loss (Hinton et al., 2015); the run trains it first.
        teacher_share: share of the run's updates that the teacher gets.
        frozen_share: last part of the run that trains with frozen batch norms, as the network is deployed.
        averaging: decay of a moving average of all parameters, which is what is handed over; 0 for none.
        reestimation: batches from which batch norms' averages are measured anew at the end; 0 for none.
        calibration: batches that set activation steps and moving averages before the first update.
        noise: standard deviation, relative to a tensor's own, of the noise that sets tiled channels apart.
        precision: of what dense convolutions of a quantized network compute while it trains: ``float32``,
            ``bfloat16``, or ``auto``, bfloat16 on processors with instructions for it. Trained values stay float32, and
            networks are evaluated in float32.

    Raises:
        QnasError: a value is out of range.
    """

    steps: int = 900
    batch: int = 64
    optimizer: str = "auto"
    rate: float = 1e-2
    schedule: str = "cosine"
    warm_up: float = 0.05
    weight_decay: float = 0.05
    clip: float = 5.0
    smoothing: float = 0.1
    shift: bool = True
    shift_from: float = 60.0
    mirror: bool = True
    erase: float = 0.0
    grid: str = USUAL
    learned_weights: bool = True
    descent: float = 0.0
    damping: float = 0.0
    distillation: float = 0.0
    teacher_share: float = 0.3
    frozen_share: float = 0.2
    averaging: float = 0.0
    reestimation: int = 0
    calibration: int = 8
    noise: float = 0.05
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, least, most in _COUNTS:
            self._check(name, getattr(self, name) >= least, f"is at least {least}")
            self._check(name, getattr(self, name) <= most, f"is at most {most}")
        self._check("shift_from", self.shift_from >= 0, "is at least 0")
        for name in ("rate", "clip"):
            self._check(name, 0 < getattr(self, name) < float("inf"), "is a positive number")
        for name in _SHARES:
            self._check(name, 0 <= getattr(self, name) <= 1, "lies within 0..1")
        for name, choices in CHOICES.items():
            self._check(name, getattr(self, name) in choices, f"is {' or '.join(choices)}")

    def _check(self, name: str, good: bool, rule: str) -> None:
        if not good:
            usual = getattr(Recipe, name)
            raise QnasError(f"`{name}` {rule}, got {shown(getattr(self, name))}; leave it out for {usual}.")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Recipe":
        """Read plain values, also as they were before grids had names of their own."""
        return cls(**with_grid(values))

    def of(self, steps: int) -> "Recipe":
        """The same recipe for a run of another length."""
        return replace(self, steps=steps)

    @property
    def ingredients(self) -> dict[str, Any]:
        """All but the length, as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "steps"}

    @property
    def digest(self) -> str:
        """A hash of the ingredients."""
        return digest_of(self.ingredients)[:8]

    def to_toml(self) -> str:
        """The recipe as a TOML file; ``read_recipe`` reads it back."""
        return "".join(f"{name} = {_toml(value)}\n" for name, value in asdict(self).items())


_COUNTS = (("steps", 1, 10**9), ("batch", 1, 10**6), ("calibration", 1, 10**6), ("reestimation", 0, 10**6))
"""The least and the most of each."""
_SHARES = (
    "weight_decay", "noise", "frozen_share", "warm_up", "smoothing", "erase", "descent", "damping", "distillation",
    "teacher_share", "averaging",
)  # fmt: skip
_KINDS = {item.name: item.type for item in fields(Recipe)}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word between quotes"}


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; what it leaves out is as usual.

    Raises:
        QnasError: it is missing or no TOML, or has an unknown key, a wrong type or an unusable value.
    """
    values = read_toml(
        path, "a recipe", "a recipe is a TOML file such as the manifest of a winner shows; check the path"
    )
    typed: dict[str, Any] = {}
    for key, value in with_grid(values).items():
        if key not in _KINDS:
            raise QnasError(f"Recipe {path}: unknown key {shown(key)}; {did_you_mean(key, _KINDS)}")
        kind: Any = _KINDS[key]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise QnasError(f"Recipe {path}: {key} is {_WORDS[kind]}, got {shown(value)}; correct it in the file.")
        typed[key] = kind(value)
    try:
        return Recipe(**typed)
    except QnasError as error:
        raise QnasError(f"Recipe {path}: {str(error).replace('`', '')}") from error  # keys of a file, no arguments
