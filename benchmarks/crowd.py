"""A crowd at one storage, killed again and again: is every task done, none of them twice?

    python benchmarks/crowd.py --seconds 300 --processes 8
    python benchmarks/crowd.py --seconds 300 --processes 4 --storage postgresql://user@host/database

Processes claim tasks and tell their results through the queue that searches share. At random moments some are killed
with SIGKILL and begun again: in a database each on its own, as hosts are; at a journal, which belongs to one run, all,
under a new name, as a run does it. New tasks come until the time is over; then the last are finished in peace. The last
line is JSON: tasks, kills, tasks that were lost, told twice, or told another result than theirs, and claims a task.
"""

import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from common import finish, options, settle
from optuna.trial import TrialState

from qnas.work.queue import TASK, StudyAddress, WorkQueue, new_worker, payload_of

WORK, BEAT, GRACE = 0.02, 0.2, 2.0
"""Seconds of a task at most, between signs of life, and after how many without one a process counts as dead."""
AHEAD = 40
"""Tasks that are open at once."""
Address = tuple[str, str, str]


def result_of(task: int) -> float:
    """The one right result of a task."""
    return random.Random(task).random()


def work(address: Address, until: float, seed: int) -> None:
    """Do tasks until all are done that were begun before the end."""
    rng = random.Random(seed)
    with closing(WorkQueue(StudyAddress(*address), beat=BEAT, grace=GRACE)) as queue:
        first = 0
        while True:
            while str(first) in queue.done:
                first += 1
            seen = [int(task) for task in (*queue.done, *queue.running)]
            last = first + AHEAD if time.time() < until else max(seen, default=-1) + 1
            if first >= last:
                return
            open_tasks = [task for task in range(first, last) if str(task) not in queue.done]
            rng.shuffle(open_tasks)
            for task in open_tasks:
                if (claimed := queue.claim(str(task))) is not None:
                    time.sleep(rng.random() * WORK)
                    queue.finish(claimed, [result_of(task)], by=address[2])
            time.sleep(WORK)
            queue.refresh()


def crowded(storage: str, name: str, processes: int, seconds: float) -> int:
    """Let processes work, and kill them at random; the number of kills."""
    context, rng, until, kills = get_context("spawn"), random.Random(0), time.time() + seconds, 0
    shared, crowd, everyone = "://" in storage, dict[int, BaseProcess](), range(processes)

    def begin(places: Iterable[int]) -> None:
        together = new_worker()
        for place in places:
            address = (storage, name, new_worker() if shared else together)
            crowd[place] = context.Process(target=work, args=(address, until, rng.randrange(1 << 30)))
            crowd[place].start()

    begin(everyone)
    while time.time() < until:
        time.sleep(rng.uniform(1.0, 5.0))
        victims = [rng.randrange(processes)] if shared else everyone
        for place in victims:
            crowd[place].kill()
            crowd[place].join()
            kills += crowd[place].exitcode == -signal.SIGKILL
        begin(victims)
    for process in crowd.values():
        process.join()
    return kills


def main() -> None:
    """Crowd, kill, count."""
    given = options(
        __doc__, seconds=(300.0, "until no new tasks come"), processes=(8, "at once"),
        storage=("", "URL of a database; a journal without it"),
    )  # fmt: skip
    settle()
    name = f"crowd-{new_worker()}"
    with tempfile.TemporaryDirectory() as folder:
        storage = given.storage or str(Path(folder) / "trials.journal")
        kills = crowded(storage, name, given.processes, given.seconds)
        with closing(WorkQueue(StudyAddress(storage, name, new_worker()))) as queue:
            trials = queue.storage.get_all_trials(queue.id)
    done = [(int(trial.user_attrs[TASK]), trial) for trial in trials if trial.state == TrialState.COMPLETE]
    told = Counter(task for task, _ in done)
    wrong = sum(trial.value != result_of(task) for task, trial in done)
    lost = set(range(max(told, default=-1) + 1)) - set(told)
    workers = {payload_of(trial)["by"] for _, trial in done}
    finish(
        storage=given.storage.split(":")[0] or "journal", processes=given.processes, seconds=given.seconds, kills=kills,
        tasks=len(told), lost=len(lost), twice=sum(count > 1 for count in told.values()), wrong=wrong,
        workers=len(workers), claims_a_task=round(len(trials) / max(1, len(told)), 3),
    )  # fmt: skip


if __name__ == "__main__":
    main()
