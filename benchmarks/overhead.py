"""What Optuna and the storage cost a trial, of as many trials as a long search has.

    python benchmarks/overhead.py --trials 5000
    python benchmarks/overhead.py --trials 5000 --storage postgresql://user@host/database

A screen of ``--trials`` different networks of a space with made-up scores that are there at once, on the journal of a
run or in a database: proposing, counting costs, claiming and telling are real. The processor's and the clock's
milliseconds a proposal are those of the last tenth of the proposals, beside the processor's of one real score in the
same process, which other work on the machine does not stretch. The last line is JSON.
"""

import tempfile
import time
from contextlib import closing
from pathlib import Path

from common import finish, load, networks, options, settle

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet
from qnas.nas.proposer import Proposer
from qnas.nas.screen import Screen
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.quant.scheme import Bits
from qnas.scores.predicted import Score
from qnas.scores.race import Outcome, Racer
from qnas.space.genes import gene_choices
from qnas.space.space import SearchSpace
from qnas.work.queue import StudyAddress, WorkQueue, new_worker

BITS = Bits(4, 4)


class MadeUp:
    """A score without work, which large networks of many layers do well in."""

    images = 1000

    def __call__(self, plan: Plan, most_missed: float) -> Outcome:
        """See ``qnas.nas.screen.Scorer``."""
        return Outcome(Score(min(99.0, len(plan.nodes) / 2), 1.0, 0.5), 1, True)


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
    settings = SearchSettings(BITS, data=given.data, space=given.space, trials=given.trials)
    marks: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        storage = given.storage or str(Path(folder) / "trials.journal")
        address = StudyAddress(storage, f"overhead-{new_worker()}", new_worker(), alone=not given.storage)
        with closing(WorkQueue(address)) as queue:
            proposer = Proposer(given.sampler, 0, gene_choices(space))
            screen = Screen(MadeUp(), proposer, queue, costs, settings, space)
            found = screen.run(lambda: marks.append((time.process_time(), time.perf_counter())))
    late = marks[-(1 + max(1, len(marks) // 10)) :]
    count = (len(late) - 1) * proposer.told / len(marks)  # each batch is reported once more
    processor, clock = (1000 * (late[-1][place] - late[0][place]) / count for place in (0, 1))
    finish(
        networks=len(found), proposals=proposer.told, sampler=given.sampler,
        storage=given.storage.split(":")[0] or "journal", overhead_milliseconds=round(clock, 2),
        overhead_processor_milliseconds=round(processor, 2), score_milliseconds=round(1000 * score, 1),
        share=round(processor / 1000 / score, 3), space=space.name,
    )  # fmt: skip


if __name__ == "__main__":
    main()
