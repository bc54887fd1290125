"""Tasks that processes share out among themselves through an Optuna storage: one task is one trial of a study.

A process claims a task by adding a running trial that names it, and tells its result by completing the trial. Where two
claim the same task at once the earlier trial counts and the other is withdrawn. The trial of a process that died is
taken up again by the next one that asks for its task.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState, create_trial

from qnas.errors import QnasError
from qnas.runs.reading import reading
from qnas.work.journal import JournalFile

BEAT, GRACE = 5.0, 30.0
TASK, WORKER, PAYLOAD = "task", "owner", "facts"
"""Names of a trial's attributes in a storage."""
LATE = ("IntegrityError", "ProgrammingError")
"""SQLAlchemy's names for errors of who makes tables that another has just made."""


Directions = tuple[Literal["maximize", "minimize"], ...]


@dataclass(frozen=True)
class StudyAddress:
    """Where a study is kept.

    Args:
        storage: URL of a database that several hosts share, or path of a journal file that belongs to one run.
        name: of the study.
        worker: says who claims. The processes of one run on one journal are one worker, which lives as long as the run.
        alone: promises that no other process is at it, which spares looking at what others do.
    """

    storage: str
    name: str
    worker: str
    alone: bool = False

    @property
    def shared(self) -> bool:
        """Whether it is a database, to which other hosts may come and go."""
        return "://" in self.storage

    def open(self) -> tuple[BaseStorage, Callable[[], None]]:
        """Connect.

        Returns:
            The storage, and what closes it.

        Raises:
            QnasError: the database cannot be reached.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if not self.shared:
            return JournalStorage(JournalFile(Path(self.storage))), lambda: None
        try:
            url = self.storage.replace("postgresql://", "postgresql+psycopg://", 1)
            backend = with_tables(lambda: RDBStorage(url))
        except Exception as error:  # of whatever driver the URL names
            reason = (str(error.__cause__ or error) or type(error).__name__).splitlines()[0]
            raise QnasError(
                f"A `storage` is a database that answers, such as postgresql://user@host/name, but "
                f"{without_password(self.storage)} does not ({reason}); start it, correct the URL, or install its "
                "driver with: python -m pip install 'qnas[postgres]'"
            ) from error
        return get_storage(backend), backend.engine.dispose


def with_tables(connect: Callable[[], RDBStorage], pause: float = 1.0) -> RDBStorage:
    """A database with its tables. Of hosts that make them at once the first succeeds, and the others find them then.

    Args:
        connect: connects, and makes the tables if there are none.
        pause: seconds before it is tried again.
    """
    try:
        return connect()
    except Exception as error:
        if type(error).__name__ not in LATE:
            raise
    time.sleep(pause)
    return connect()


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def check_storage(url: str) -> None:
    """Check that a database answers.

    Raises:
        QnasError: it does not, or this is no URL.
    """
    if "://" not in url:
        raise QnasError(
            f"A `storage` is a URL such as postgresql://user@host/name, got {without_password(url)!r}; leave it out to "
            "search on this host alone."
        )
    _, close = StudyAddress(url, "", "").open()
    close()


def new_worker() -> str:
    """A name that no other worker has."""
    return uuid4().hex[:12]


def payload_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a finished task was told beside its values."""
    payload: dict[str, Any] = trial.user_attrs[PAYLOAD]
    return payload


class WorkQueue:
    """The tasks of one study; ``done`` has those with a result, by name, as of the last ``refresh``.

    Args:
        address: of the study, which is made if it is not there.
        directions: of the values that tasks have, ``maximize`` or ``minimize``.
        beat: seconds between signs of life of this process.
        grace: after how many without one another process counts as dead.
    """

    def __init__(
        self,
        address: StudyAddress,
        directions: Directions = ("maximize",),
        beat: float = BEAT,
        grace: float = GRACE,
    ) -> None:
        self.address, self.beat, self.grace = address, beat, grace
        self.storage, self.disconnect = address.open()
        with self._reading():
            self.study = optuna.create_study(
                storage=self.storage, study_name=address.name, directions=directions, load_if_exists=True
            )
            self.id = self.storage.get_study_id_from_name(address.name)
        self.done: dict[str, FrozenTrial] = {}
        self.running: dict[str, FrozenTrial] = {}
        self.settled = 0
        self.beats: dict[str, tuple[object, float]] = {}
        self.claims: dict[int, tuple[str, dict[str, Any]]] = {}
        self.unwritten = count(-1, -1)
        self.stopped = threading.Event()
        self.beating = threading.Thread(target=self._beat, daemon=True)
        if address.shared:
            self.beating.start()
        with self._reading():
            self.refresh()

    def _reading(self) -> AbstractContextManager[None]:
        """A journal may be damaged in ways that its lines do not show; a database's own errors tell more."""
        if self.address.shared:
            return nullcontext()
        remedy = "delete it, and the same command screens again"
        return reading(Path(self.address.storage), "a journal of trials", remedy)

    def close(self) -> None:
        """Give no more signs of life, and disconnect."""
        self.stopped.set()
        if self.beating.is_alive():
            self.beating.join()
        self.storage.remove_session()
        self.disconnect()

    def _beat(self) -> None:
        for beat in count():
            if self.stopped.is_set():
                break
            with suppress(StorageInternalError):  # a database that hiccups may answer the next time
                self.study.set_user_attr(f"alive/{self.address.worker}", beat)
            self.stopped.wait(self.beat)
        self.storage.remove_session()

    def refresh(self) -> None:
        """See what others have done meanwhile."""
        trials = self.storage.get_all_trials(self.id, deepcopy=False)
        self.running = {}
        for trial in trials[self.settled :]:
            if trial.state == TrialState.COMPLETE:
                self.done.setdefault(trial.user_attrs[TASK], trial)
            elif trial.state == TrialState.RUNNING:
                self.running.setdefault(trial.user_attrs[TASK], trial)
        while self.settled < len(trials) and trials[self.settled].state.is_finished():
            self.settled += 1

    def claim(self, task: str, **trial: Any) -> int | None:
        """Take a task.

        Args:
            task: its name.
            trial: what else its trial holds (``optuna.trial.create_trial``).

        Returns:
            A number to ``finish`` it with; nothing if it is done, or another process is at it. Who is alone writes
            nothing before that, and gets numbers below 0.
        """
        if not self.address.alone:
            self.refresh()
        if task in self.done:
            return None
        if (held := self.running.get(task)) is not None:
            return held.number if self._is_abandoned(held) else None
        if self.address.alone:
            mine = next(self.unwritten)
            self.claims[mine] = task, trial
            return mine
        mine = self._add(task, TrialState.RUNNING, trial)
        self.refresh()
        first = self.done.get(task) or self.running[task]
        if first.number != mine:
            trial_id = self.storage.get_trial_id_from_study_id_trial_number(self.id, mine)
            self.storage.set_trial_state_values(trial_id, TrialState.FAIL)
            return None
        return mine

    def finish(self, number: int, values: list[float], **payload: Any) -> None:
        """Tell the result of a claimed task; if another process has told it meanwhile, theirs stays."""
        if number in self.claims:
            task, given = self.claims.pop(number)
            self.done[task] = self._trial(task, TrialState.COMPLETE, {**given, "values": values}, **{PAYLOAD: payload})
            self.storage.create_new_trial(self.id, self.done[task])
            return
        trial = self.storage.get_trial_id_from_study_id_trial_number(self.id, number)
        try:
            self.storage.set_trial_user_attr(trial, PAYLOAD, payload)
            self.storage.set_trial_state_values(trial, TrialState.COMPLETE, values)
        except UpdateFinishedTrialError:
            pass
        told = self.storage.get_trial(trial)
        self.done.setdefault(told.user_attrs[TASK], told)
        self.running.pop(told.user_attrs[TASK], None)

    def _add(self, task: str, state: TrialState, trial: dict[str, Any]) -> int:
        identity = self.storage.create_new_trial(self.id, self._trial(task, state, trial))
        return self.storage.get_trial_number_from_id(identity)

    def _trial(self, task: str, state: TrialState, trial: dict[str, Any], **facts: Any) -> FrozenTrial:
        return create_trial(state=state, user_attrs={TASK: task, WORKER: self.address.worker, **facts}, **trial)

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        """Whether a running trial's worker is dead.

        On a journal that is whoever is not this run; in a database, who has given no new sign of life for a while.
        """
        worker = trial.user_attrs[WORKER]
        if worker == self.address.worker or not self.address.shared:
            return bool(worker != self.address.worker)
        beat = self.study.user_attrs.get(f"alive/{worker}")
        if worker not in self.beats or self.beats[worker][0] != beat:
            self.beats[worker] = beat, time.monotonic()
        return time.monotonic() - self.beats[worker][1] > self.grace
