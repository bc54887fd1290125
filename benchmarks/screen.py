"""How long a search takes to score its networks, from the call on: imports and the processes' start are part of it.

    python benchmarks/screen.py --data fashion --budgets weight_bytes=65536,macs=3e6 --trials 400

The networks are different ones that keep the budgets. The training that follows, of one step a run, is not timed. The
last line is JSON.
"""

import tempfile
import time
from dataclasses import asdict

from common import budget_of, finish, options

import qnas


def main() -> None:
    """Search, and measure until the last score."""
    given = options(
        __doc__, data="digits", bits="w4a4", budgets="params=12000", trials=(400, "networks to score"),
        sampler=("auto", "who proposes"), workers=2,
    )  # fmt: skip
    limits = {f"max_{name}": most for name, most in asdict(budget_of(given.budgets)).items()}
    began, ends = time.perf_counter(), {}

    def note(stage: str, share: float, remark: str) -> None:
        ends[stage] = time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        qnas.search(
            given.bits, data=given.data, trials=given.trials, sampler=given.sampler, workers=given.workers, steps=2,
            top=1, out=folder, progress=note, **limits,
        )  # fmt: skip
    finish(networks=given.trials, data=given.data, workers=given.workers, seconds=round(ends["screen"], 1))


if __name__ == "__main__":
    main()
