"""What Optuna and the storage cost a trial, of as many trials as a long search has.

    python benchmarks/overhead.py --trials 5000
    python benchmarks/overhead.py --trials 5000 --storage postgresql://user@host/database

A screen of ``--trials`` different networks of a space with made-up scores that are there at once, on the journal of a
run or in a database: proposing, counting costs, claiming and telling are real. The processor's and the clock's
milliseconds a proposal are those of the last tenth of the proposals. ``--score`` holds them against one real score in
the same process. The last line is JSON.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import torch

from qnas.checkpoints.store import load_checkpoint
from qnas.data.registry import find_data
from qnas.scores.race import Outcome, prepare_race
from qnas.scores.predicted import PredictedScore
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.nas import screen as stages
from qnas.work.queue import WorkQueue, StudyAddress, new_worker
from qnas.space.genes import gene_choices
from qnas.nas.settings import SearchSettings
from qnas.nas.proposer import Proposer
from qnas.space.space import find_space


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--sampler", default="auto")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--ghn", default="digits")
    parser.add_argument("--storage", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = find_data(options.data)
    space = find_space(options.space).for_task(data.task)
    bits = Bits(4, 4)
    score = score_seconds(data, space, options.ghn, bits)
    settings = SearchSettings(bits, data=options.data, space=options.space, trials=options.trials)
    marks: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        journal = str(Path(folder) / "trials.journal")
        place = StudyAddress(options.storage or journal, f"overhead-{new_worker()}", new_worker(), alone=not options.storage)
        board = WorkQueue(place)
        proposer = Proposer(options.sampler, 0, gene_choices(space))
        race = SimpleNamespace(run=made_up)
        stages.prepare_race = lambda *anything: race  # type: ignore[assignment, return-value]
        screen = stages.Screen(settings, space, data, lambda plans, whole: [{}], proposer, board, costs)  # type: ignore[arg-type]

        def tell(share: float, remark: str) -> None:
            marks.append((time.process_time(), time.perf_counter()))

        found = screen.run(tell)
    late = marks[-(1 + max(1, len(marks) // 10)) :]
    count = len(late) - 1
    processor, clock = (1000 * (late[-1][place] - late[0][place]) / count for place in (0, 1))
    print(json.dumps({
        "networks": len(found), "proposals": len(marks), "sampler": options.sampler,
        "storage": options.storage.split(":")[0] or "journal",
        "overhead_milliseconds": round(clock, 2), "overhead_processor_milliseconds": round(processor, 2),
        "score_milliseconds": round(1000 * score, 1), "share": round(clock / 1000 / score, 3), "space": space.name,
    }))  # fmt: skip


def made_up(plan: Any, parameters: Any, most_missed: float) -> Outcome:
    """A score without work, which large networks of many layers do well in."""
    return Outcome(PredictedScore(min(99.0, len(plan.nodes) / 2), 1.0, 0.5), 1, True)


def score_seconds(data: Any, space: Any, ghn_name: str, bits: Bits) -> float:
    """The clock's seconds of predicting and racing one network to the end, over thirty."""
    ghn = load_checkpoint(ghn_name).ghn
    race, times = prepare_race(space, bits, data, ghn, 0), []
    networks = stream(space, 3, bits=bits)
    for _ in range(33):
        plan = build_plan(next(networks), space.task)
        started = time.perf_counter()
        with torch.inference_mode():
            race.run(plan, ghn([plan], whole=False)[0])
        times.append(time.perf_counter() - started)
    return fmean(times[3:])


if __name__ == "__main__":
    main()
