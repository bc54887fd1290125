"""How one network is trained: a recipe, checked, with a TOML form. Knows no tensor."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from qnas.digest import digest_of
from qnas.errors import QnasError, did_you_mean
from qnas.runs.reading import reading


@dataclass(frozen=True)
class Recipe:
    """Quantization-aware training of one network.

    Args:
        steps: updates.
        batch: images an update.
        rate: peak learning rate of AdamW, which warms up and then falls as half a cosine.
        weight_decay: of the convolutions and the classifier.
        clip: longest gradient of an update.
        frozen_share: last part of the run that trains with frozen batch norms, as the network is deployed.
        calibration: batches that set activation steps and moving averages before the first update.
        noise: standard deviation, relative to a tensor's own, of the noise that sets tiled channels apart.

    Raises:
        QnasError: a value is out of range.
    """

    steps: int = 900
    batch: int = 64
    rate: float = 3e-3
    weight_decay: float = 1e-4
    clip: float = 5.0
    frozen_share: float = 0.3
    calibration: int = 8
    noise: float = 0.05

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "calibration"):
            if getattr(self, name) < 1:
                raise QnasError(
                    f"`{name}` is at least 1, got {getattr(self, name)}; leave it out for {getattr(Recipe, name)}."
                )
        for name in ("rate", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise QnasError(
                    f"`{name}` is a positive number, got {getattr(self, name)}; leave it out for "
                    f"{getattr(Recipe, name)}."
                )
        for name in ("weight_decay", "noise", "frozen_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise QnasError(
                    f"`{name}` lies within 0..1, got {getattr(self, name)}; leave it out for {getattr(Recipe, name)}."
                )

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
        return "".join(f"{name} = {value}\n" for name, value in asdict(self).items())


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; what it leaves out is as usual.

    Raises:
        QnasError: it is missing or no TOML, or has an unknown key, a wrong type or an unusable value.
    """
    import tomllib  # slow to import, and no help text needs it

    with reading(path, "a recipe", "a recipe is a TOML file such as the manifest of a winner shows; check the path"):
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    kinds = {item.name: item.type for item in fields(Recipe)}
    for key, value in values.items():
        if key not in kinds:
            raise QnasError(f"Recipe {path}: unknown key {key!r}; {did_you_mean(key, kinds)}")
        wanted = (int,) if kinds[key] is int else (int, float)
        if type(value) not in wanted:
            what = "a whole number" if kinds[key] is int else "a number"
            raise QnasError(f"Recipe {path}: {key} is {what}, got {value!r}; correct it in the file.")
    typed: dict[str, Any] = {key: value if kinds[key] is int else float(value) for key, value in values.items()}
    try:
        return Recipe(**typed)
    except QnasError as error:
        raise QnasError(f"Recipe {path}: {str(error).replace('`', '')}") from error  # keys of a file, no arguments
