"""Notices early when a training run has collapsed, and holds the last state from before."""

from math import log

import torch
from torch import Tensor

MEMORY = 0.98
"""What the moving average of the loss keeps of itself at each step."""
LEARNED = 0.5
"""A run has learned something once its loss is below this share of a guess's."""
LEAST = 50
"""Steps between two looks, at least; a run is looked at twenty times."""


class Guard:
    """Watches the loss of a run.

    A run is lost where its loss is no number, or is that of guessing again after something was learned.

    Args:
        steps: of the run.
        classes: among which it guesses.
    """

    def __init__(self, steps: int, classes: int) -> None:
        self.every, self.guessing = max(LEAST, steps // 20), log(classes)
        self.loss = torch.tensor(self.guessing)
        self.has_learned = self.was_lost = False
        self.good: dict[str, Tensor] = {}

    def note(self, loss: Tensor) -> None:
        """Take the loss of a step into the average, without waiting for a device."""
        self.loss = self.loss.to(loss.device) * MEMORY + (1 - MEMORY) * loss

    def is_lost(self) -> bool:
        """Whether the run is lost."""
        value = self.loss.item()
        self.has_learned = self.has_learned or value < LEARNED * self.guessing
        return not (value < self.guessing or (value < float("inf") and not self.has_learned))

    def keep(self, state: dict[str, Tensor]) -> None:
        """Hold a state that is good."""
        self.good = {name: value.clone() for name, value in state.items()}

    def state(self) -> dict[str, Tensor]:
        """All that decides what it will say, by names; ``load_state`` reads it."""
        flags = {"loss": self.loss, "has_learned": self.has_learned, "was_lost": self.was_lost}
        good = {f"good/{name}": value for name, value in self.good.items()}
        return {**good, **{name: torch.as_tensor(value) for name, value in flags.items()}}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state()``."""
        self.loss = state["loss"]
        self.has_learned, self.was_lost = bool(state["has_learned"]), bool(state["was_lost"])
        self.good = {name.removeprefix("good/"): value for name, value in state.items() if name.startswith("good/")}
