"""Budgets: exact limits on a network's costs. Knows no network, so that settings are read at once."""

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from qnas.errors import QnasError

if TYPE_CHECKING:
    from qnas.network.costs import Costs
    from qnas.space.space import SearchSpace


@dataclass(frozen=True)
class Limits:
    """The most a network may cost, field by field as in ``Costs``; 0 is no limit."""

    params: int = 0
    macs: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    latency: float = 0.0
    instructions: float = 0.0
    flash: int = 0
    ram: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0:
                raise QnasError(f"A budget is a positive number, got `max_{name}={value}`; leave it out for no limit.")

    def excess(self, costs: "Costs") -> float:
        """By what share the costs exceed the limits at most; 0 or less if all are kept."""
        shares = [getattr(costs, item.name) / limit - 1 for item in fields(self) if (limit := getattr(self, item.name))]
        return max(shares, default=0.0)

    def beyond(self, space: "SearchSpace") -> list[str]:
        """Names of those that change nothing, since the space's own are tighter."""
        own = {"params": space.max_params, "macs": space.max_macs}
        return [name for name, limit in own.items() if 0 < limit < getattr(self, name)]

    def within(self, space: "SearchSpace") -> "Limits":
        """These limits, no looser than the space's own."""
        params = min(filter(None, (self.params, space.max_params)))
        macs = min(filter(None, (self.macs, space.max_macs)), default=0)
        return replace(self, params=params, macs=macs)
