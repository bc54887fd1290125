"""The settings of a search, which also tell one run folder from another."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from qnas.digest import digest_of
from qnas.errors import QnasError, at_least_one, check_known, check_seed, shown
from qnas.exporters.device_profiles import DeviceProfile
from qnas.nas.limits import Limits
from qnas.quant.scheme import Bits, check_edges, check_mixed, mixed_up_to
from qnas.space.genes import decode
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.training.price import PRICES
from qnas.training.recipe import Recipe

SHORT, MIDDLE = 12, 4
"""How many short, and how many middle training runs have the steps of a full one."""
MOST_THREADS = 4
"""Threads of a full run; more than two were not timed."""
WAY = 4
"""The version of how networks are proposed, scored and started; a run that began with another one cannot go on."""
MOST_TRIALS = 10_000
"""Networks, as many as one file of results holds (``qnas.runs.reading.MOST_VALUES``) where all layers have widths."""
IN_C = ("instructions", "flash", "ram")
"""Costs of the exported C code."""
COSTS = tuple(item.name for item in fields(Limits))
BEGUN = {
    "data?": str, "steps?": int, "recipe?": {}, "sampler?": str, "usual_price?": float, "calibration?": int,
    "survivors?": int, "top?": int, "threads?": int,
}  # fmt: skip
"""The shape of a begun run's settings, where they are read (``qnas.runs.reading.expect``)."""


@dataclass(frozen=True)
class SearchSettings:
    """What is searched for, where, and how hard.

    Args:
        bits: widths of weights and activations; where ``mixed``, the widest.
        limits: budgets.
        data: name or path of the data set.
        space: name or path of the search space.
        ghn: name or path of the checkpoint.
        sampler: proposes genes.
        trials: different networks within the budgets that the hypernetwork scores.
        labels: how many of them get a short training run, to which estimates are fitted.
        survivors: how many get a middle one.
        top: how many are trained in full.
        recipe: of a full training run; a middle one has a quarter of its steps, a short one a twelfth.
        seed: of everything random.
        mixed: whether every layer has widths of its own, which are genes.
        edges: bits of the weights of the first and of the last layer, where that is more; 0 for as many as others have.
        pareto: costs that are to be small, beside an accuracy that is to be high; none of them: accuracy alone.
        minutes: time that the whole run was planned for (``qnas.nas.planning``); 0 where steps were given.
        usual_price: training price (``qnas.training.price``) of a network whose runs have as many steps as the recipe
            says: others have more or fewer, so that all runs of a rung take the same time; 0 for the same steps.
        target: device that networks are for; its budgets are among the limits.
        threads: of the processor, that a full run computes on; 0 for as many as its process does.

    Raises:
        QnasError: a count is out of range, or a cost unknown.
    """

    bits: Bits
    limits: Limits = field(default_factory=Limits)
    data: str = "digits"
    space: str = "tiny"
    ghn: str = "digits"
    sampler: str = "auto"
    trials: int = 200
    labels: int = 12
    survivors: int = 6
    top: int = 3
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    mixed: bool = False
    pareto: tuple[str, ...] = ()
    minutes: float = 0.0
    usual_price: float = 0.0
    edges: int = 0
    target: DeviceProfile | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        check_edges(self.edges)
        check_seed(self.seed)
        for cost in self.pareto:
            check_known("cost", cost, COSTS)
        if self.target:
            self.target.check(self.bits, self.recipe.grid, self.edges)
        if self.mixed:
            check_mixed(self.layer_choices, self.bits)
        if self.bits.is_float and (in_c := [one for one in IN_C if one in self.pareto or getattr(self.limits, one)]):
            raise QnasError(
                f"Limits on {in_c[0]} are for integer code, got `bits='fp32'`; give `bits='w8a8'`, or leave them out."
            )
        at_least_one({"trials": self.trials, "top": self.top})
        if self.recipe.steps < 2:
            raise QnasError(f"Full runs are longer than short ones, got `steps={self.recipe.steps}`; give 2 or more.")
        if self.trials > MOST_TRIALS:
            raise QnasError(f"A search scores at most {MOST_TRIALS:,} `trials`, got {shown(self.trials)}; take fewer.")
        if not 0 <= self.threads <= MOST_THREADS:
            raise QnasError(
                f"A full run computes on 1 to {MOST_THREADS} threads, got {shown(self.threads)}; begin another run."
            )

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Training steps of a short, a middle and a full run."""
        return training_lengths(self.recipe.steps)

    def decode(self, space: SearchSpace, genes: Mapping[str, Any]) -> Genotype:
        """The canonical genotype of a choice of genes, at its bit widths."""
        genotype = decode(space, genes, self.bits)
        return genotype.with_edges(self.edges) if self.edges else genotype

    def identity(self) -> dict[str, Any]:
        """Plain values that must be the same for a run to go on."""
        plain = {**asdict(self), "bits": str(self.bits), "pareto": list(self.pareto), "way": WAY}
        plain["target"] = self.target and self.target.to_json()
        for later in IN_C:
            if not plain["limits"][later]:
                del plain["limits"][later]  # which runs of earlier versions do not have
        if not self.threads:
            del plain["threads"]  # likewise
        if self.usual_price:
            plain["prices"] = digest_of(PRICES)[:8]
        plain |= {"calibration": plain.pop("labels"), "steps": self.recipe.steps, "recipe": self.recipe.ingredients}
        return plain

    @property
    def layer_choices(self) -> tuple[Bits, ...]:
        """What a layer may have where widths are mixed, narrowest first; nothing where they are not."""
        if not self.mixed:
            return ()
        computed = self.target.bits if self.target else ()
        return tuple(bits for bits in mixed_up_to(self.bits) if not computed or str(bits) in computed)

    @property
    def narrowest(self) -> Bits:
        """The widths of the cheapest networks."""
        return self.layer_choices[0] if self.mixed else self.bits

    @property
    def directions(self) -> tuple[Literal["maximize", "minimize"], ...]:
        """Of accuracy, and of every cost that counts."""
        costs: list[Literal["maximize", "minimize"]] = ["minimize" for _ in self.pareto]
        return ("maximize", *costs)

    @property
    def is_unbounded(self) -> bool:
        """Whether nothing speaks for narrow layers."""
        narrow = ("weight_bytes", "activation_bytes", "latency", *IN_C)
        return not (self.pareto or any(getattr(self.limits, name) for name in narrow))

    @property
    def needs_latency(self) -> bool:
        """Whether networks are timed."""
        return "latency" in self.pareto or self.limits.latency > 0

    @property
    def counted(self) -> Limits:
        """The limits, with one on every cost of C code that matters, or that a device runs, so that it is counted."""
        in_c = self.target is not None and self.target.runs_c
        counted = [cost for cost in IN_C if in_c or cost in self.pareto or getattr(self.limits, cost)]
        limits: Limits = replace(self.limits, **dict.fromkeys(counted, 1))
        return limits


def paid_steps(steps: int, usual_price: float, price: float) -> int:
    """The steps that a network trains in the time that one of the usual price takes for ``steps``."""
    return max(1, round(steps * usual_price / price)) if usual_price else steps


def training_lengths(steps: int) -> tuple[int, int, int]:
    """Steps of a short, a middle and a full training run of a search."""
    return max(1, steps // SHORT), max(1, steps // MIDDLE), steps
