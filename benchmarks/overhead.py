"""What Optuna and the storage cost a trial, of as many trials as a long search has.

    python benchmarks/overhead.py --trials 5000
    python benchmarks/overhead.py --trials 5000 --storage postgresql://user@host/database

A screen of ``--trials`` different networks of a space with made-up scores that are there at once, on the journal of a
run or in a database: proposing, counting costs, claiming and telling are real. The processor's and the clock's
milliseconds a proposal are those of the last tenth of the proposals, beside the processor's of one real score in the
same process, which other work on the machine does not stretch; the slowest tenth of all proposals tells whether they
stay so. Memory is the process's own, at the 500th proposal and at the end, and storage the journal's bytes a trial.
The last line is JSON.
"""

import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path

from common import finish, load, networks, options, settle

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet
from qnas.nas.proposer import proposer_for
from qnas.nas.screen import Screen
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.scores.predicted import Score
from qnas.scores.race import Outcome, Racer
from qnas.space.space import SearchSpace
from qnas.work.queue import StudyAddress, WorkQueue, new_worker

BITS = Bits(4, 4)


class MadeUp:
    """A score without work, which large networks of many layers do well in."""

    images = 1000

    def __call__(self, plan: Plan, most_missed: float) -> Outcome:
        """See ``qnas.nas.screen.Scorer``."""
        return Outcome(Score(min(99.0, len(plan.nodes) / 2), 1.0, 0.5), 1, True)


def resident_megabytes() -> float:
    """The memory that this process holds now, as Linux tells it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


def score_seconds(data: DataSet, space: SearchSpace, ghn: str) -> float:
    """The processor's seconds of predicting and racing one network to the end, over thirty after the first three."""
    scorer = Racer(space, BITS, data, load_checkpoint(ghn).ghn, 0)
    marks = []
    for genotype in networks(space, 33, 3, bits=BITS):
        scorer(build_plan(genotype, space.task), float("inf"))
        marks.append(time.process_time())
    return (marks[-1] - marks[2]) / 30


def main() -> None:
    """Measure and print."""
    given = options(
        __doc__, trials=(5000, "networks to propose"), sampler=("auto", "who proposes"), data="digits", space="tiny",
        ghn="digits", storage=("", "URL of a database; a journal without it"),
    )  # fmt: skip
    settle()
    data, space = load(given.data, given.space)
    score = score_seconds(data, space, given.ghn)
    settings = SearchSettings(BITS, data=given.data, space=given.space, trials=given.trials, sampler=given.sampler)
    marks: list[tuple[float, float]] = []
    memory: list[float] = []

    def note() -> None:
        marks.append((time.process_time(), time.perf_counter()))
        memory.append(resident_megabytes())

    with tempfile.TemporaryDirectory() as folder:
        storage = given.storage or str(Path(folder) / "trials.journal")
        address = StudyAddress(storage, f"overhead-{new_worker()}", new_worker(), alone=not given.storage)
        with closing(WorkQueue(address)) as queue:
            proposer = proposer_for(settings, space)
            screen = Screen(MadeUp(), proposer, queue, costs, settings, space)
            found = screen.run(note)
        stored = 0 if given.storage else Path(storage).stat().st_size
    late = marks[-(1 + max(1, len(marks) // 10)) :]
    count = (len(late) - 1) * proposer.told / len(marks)  # each batch is reported once more
    tenths = [marks[len(marks) * tenth // 10 : len(marks) * (tenth + 1) // 10] for tenth in range(10)]
    slowest = max((part[-1][0] - part[0][0]) / len(part) for part in tenths if part) * len(marks) / proposer.told
    processor, clock = (1000 * (late[-1][place] - late[0][place]) / count for place in (0, 1))
    finish(
        networks=len(found), proposals=proposer.told, sampler=given.sampler,
        storage=given.storage.split(":")[0] or "journal", overhead_milliseconds=round(clock, 2),
        overhead_processor_milliseconds=round(processor, 2), score_milliseconds=round(1000 * score, 1),
        share=round(processor / 1000 / score, 3), space=space.name, slowest_tenth_milliseconds=round(1000 * slowest, 2),
        megabytes_at_500=memory[min(len(memory) - 1, 500 * len(marks) // proposer.told)], megabytes=memory[-1],
        bytes_a_trial=round(stored / proposer.told),
    )  # fmt: skip


if __name__ == "__main__":
    main()
