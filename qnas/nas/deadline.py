"""How long the full runs of a search get, once its short runs have told how fast this machine is.

A plan is made from a few timed steps, which may be off by a third; the short runs of the very networks that then train
in full tell it better, and all that was done until then has taken the time that it took.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qnas.nas.candidate import Candidate
from qnas.nas.rungs import Rung
from qnas.runs.files import write_json
from qnas.runs.reading import expect, read_json, reading

log = logging.getLogger("qnas")
FINISH = "finish.json"
"""The file of a run folder that keeps what was decided, for the same command to go on with."""


@dataclass(frozen=True)
class Deadline:
    """When a search that is given minutes is to end.

    Args:
        ends: on the clock of ``time.monotonic``.
        gain: how many times as fast steps of full runs are as those of short ones, on more threads.
        rounds: full runs that a process makes, one after another.
        job: seconds that a run takes beside its steps.
        rest: seconds of all that follows the full runs.
        least: steps of a full run at least, in time or not.
    """

    ends: float
    gain: float
    rounds: int
    job: float
    rest: float
    least: int

    def steps(self, seconds: float, steps: int) -> int:
        """Steps of a full run that ends in time, if a short run of so many steps took so many seconds."""
        step = max(seconds - self.job, seconds / 2) / steps
        left = self.ends - time.monotonic() - self.rest - self.rounds * self.job
        return max(self.least, int(left * self.gain / (self.rounds * step)))


def lengthened(
    folder: Path,
    deadline: Deadline | None,
    seconds: Mapping[str, float],
    short: Rung,
    full: Rung,
    chosen: Sequence[Candidate],
) -> Rung:
    """The rung of full runs as long as there is time; what was decided once stays.

    Args:
        folder: of the run.
        deadline: nothing where what was planned stays.
        seconds: that short runs took, by candidates' keys.
        short: their rung.
        full: as it was planned.
        chosen: candidates that would train in full.

    Raises:
        QnasError: what was decided cannot be read.
    """
    path = folder / FINISH
    if path.is_file():
        remedy = "delete it to train as long as was planned"
        found = read_json(path, "the length of a run's full training", remedy)
        with reading(path, "the length of a run's full training", remedy):
            expect(found, {"steps": int})
            if found["steps"] <= short.steps:
                raise ValueError(f"full runs of {found['steps']} steps are no longer than short ones")
        return replace(full, steps=found["steps"])
    slowest = max((seconds.get(one.key, 0.0) for one in chosen), default=0.0)
    if not deadline or not slowest:
        return full
    steps = max(short.steps + 1, deadline.steps(slowest, short.steps))
    if abs(steps - full.steps) > full.steps / 10:
        log.info("Full runs of %d steps instead of %d: so many fit into the time that is left.", steps, full.steps)
    write_json(path, {"steps": steps})
    return replace(full, steps=steps)
