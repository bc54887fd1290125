"""A ledger: what was done is not done again, whatever a kill left of the file, and hosts share their work out."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread

import pytest

from qnas.errors import QnasError
from qnas.work.ledger import Ledger, Result, SharedLedger
from qnas.work.pool import Pool
from qnas.work.queue import StudyAddress, WorkQueue


@dataclass(frozen=True)
class Piece:
    """A piece of work that gives its number."""

    number: int
    output: str = ""

    @property
    def name(self) -> str:
        return f"piece {self.number}"


class Doer:
    """Does pieces, which takes no time, and notes which ones were really done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self, piece: Piece) -> Result:
        self.done.append(piece.name)
        if piece.output:
            Path(piece.output).write_bytes(b"weights")
        return {"job": piece.name, "top1": float(piece.number)}


@pytest.fixture
def doer() -> Doer:
    return Doer()


PIECE = Piece(2)


def some(count: int) -> list[Piece]:
    return [Piece(number) for number in range(1, count + 1)]


def run_all(path: Path, wanted: list[Piece], do: Callable[[Piece], Result]) -> list[tuple[Piece, float]]:
    with Pool(do, Ledger(path)) as pool:
        return [(piece, result["top1"]) for piece, result in pool.run(wanted)]


def test_what_failed_is_written_down_and_tried_again_next_time(tmp_path: Path, doer: Doer) -> None:
    def failing(piece: Piece) -> Result:
        return {"job": piece.name, "failed": "out of memory"}

    with Pool(failing, Ledger(tmp_path / "ledger")) as pool:
        assert [result["failed"] for _, result in pool.run(some(2))] == ["out of memory"] * 2
    assert (tmp_path / "ledger").read_text(encoding="utf-8").count("out of memory") == 2
    assert run_all(tmp_path / "ledger", some(2), doer) == [(Piece(1), 1.0), (Piece(2), 2.0)]


def test_every_piece_is_done_and_written_down(tmp_path: Path, doer: Doer) -> None:
    found = run_all(tmp_path / "ledger", some(3), doer)
    assert found == [(piece, float(piece.number)) for piece in some(3)]
    assert doer.done == [piece.name for piece in some(3)]
    lines = (tmp_path / "ledger").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["job"] for line in lines] == doer.done


def test_no_piece_is_done_twice(tmp_path: Path, doer: Doer) -> None:
    first = run_all(tmp_path / "ledger", some(3), doer)
    doer.done.clear()
    assert run_all(tmp_path / "ledger", some(3), doer) == first
    assert doer.done == []


def test_known_results_are_taken_over_and_the_others_are_done(tmp_path: Path, doer: Doer) -> None:
    known = some(4)[1::2]
    run_all(tmp_path / "ledger", known, doer)
    doer.done.clear()
    found = [piece.number for piece, _ in run_all(tmp_path / "ledger", some(4), doer)]
    assert found == [1, 2, 3, 4]
    assert doer.done == [piece.name for piece in some(4)[::2]]


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_a_last_line_that_was_cut_off_is_done_again(tmp_path: Path, doer: Doer, kept: int) -> None:
    path = tmp_path / "ledger"
    run_all(path, some(3), doer)
    *lines, last = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines) + "\n" + last[:kept], encoding="utf-8")
    doer.done.clear()
    assert dict(run_all(path, some(3), doer)) == {piece: float(piece.number) for piece in some(3)}
    assert doer.done == [some(3)[2].name]


@pytest.mark.parametrize("kept", [1, 20, -1, None])
def test_a_run_can_be_continued_any_number_of_times_after_a_cut_off_line(
    tmp_path: Path, doer: Doer, kept: int | None
) -> None:
    path = tmp_path / "ledger"
    run_all(path, some(3), doer)
    *lines, last = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines) + "\n" + last[:kept], encoding="utf-8")  # without the line's end, if not all of it
    run_all(path, some(4), doer)
    doer.done.clear()
    assert dict(run_all(path, some(5), doer)) == {piece: float(piece.number) for piece in some(5)}
    assert doer.done == [some(5)[4].name]


def test_a_piece_whose_file_is_gone_is_done_again(tmp_path: Path, doer: Doer) -> None:
    piece = replace(PIECE, output=str(tmp_path / "weights"))
    run_all(tmp_path / "ledger", [piece], doer)
    run_all(tmp_path / "ledger", [piece], doer)
    assert len(doer.done) == 1
    (tmp_path / "weights").unlink()
    run_all(tmp_path / "ledger", [piece], doer)
    assert len(doer.done) == 2


def test_a_missing_ledger_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "ledger").results == {}


@pytest.mark.parametrize("damage", [b"nothing of use\n", b"\xff\n", b"[1]\n", b'{"top1": 5.0}\n'], ids=repr)
def test_a_damaged_ledger_is_named_with_the_way_out(tmp_path: Path, doer: Doer, damage: bytes) -> None:
    path = tmp_path / "ledger"
    run_all(path, some(2), doer)
    path.write_bytes(damage + path.read_bytes())
    with pytest.raises(QnasError) as error:
        Ledger(path)
    assert str(error.value).startswith(f"{path} cannot be read as a ledger of results (")
    assert str(error.value).endswith("); delete it, and the same command does its work again.")


def shared(folder: Path, host: str) -> SharedLedger:
    """A ledger of one of several hosts that share a queue."""
    queue = WorkQueue(StudyAddress(str(folder / "journal"), "training", "run"))
    return SharedLedger(folder / f"{host}.jsonl", queue, lambda result: result["top1"])


def test_hosts_share_pieces_out_and_both_see_all_results(tmp_path: Path, doer: Doer) -> None:
    ledgers, found = [shared(tmp_path, host) for host in ("left", "right")], {}

    def work(ledger: SharedLedger) -> None:
        with Pool(doer, ledger) as pool:
            found[ledger.path.stem] = {piece.name: result["top1"] for piece, result in pool.run(some(12))}

    threads = [Thread(target=work, args=[ledger]) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["left"] == found["right"] == {piece.name: float(piece.number) for piece in some(12)}
    assert sorted(doer.done) == sorted(piece.name for piece in some(12))
    own = [set(Ledger(ledger.path).results) for ledger in ledgers]
    assert own[0] | own[1] == set(doer.done)
    assert own[0] & own[1] == set()


def test_a_piece_that_another_host_is_at_is_left_to_it(tmp_path: Path) -> None:
    left, right = shared(tmp_path, "left"), shared(tmp_path, "right")
    assert left.claim(PIECE)
    assert not right.claim(PIECE)
    assert not right.has(PIECE)
    left.add({"job": PIECE.name, "top1": 5.0})
    assert not right.claim(PIECE)
    assert right.has(PIECE)
    assert right.results[PIECE.name] == {"job": PIECE.name, "top1": 5.0}


def test_the_queue_shows_the_value_of_a_result(tmp_path: Path) -> None:
    left, right = shared(tmp_path, "left"), shared(tmp_path, "right")
    assert left.claim(PIECE)
    left.add({"job": PIECE.name, "top1": 5.0})
    right.queue.refresh()
    assert right.queue.done[PIECE.name].value == 5


def test_pieces_that_leave_a_file_are_done_by_every_host(tmp_path: Path, doer: Doer) -> None:
    for host in ("left", "right"):
        piece = replace(PIECE, output=str(tmp_path / f"{host}.weights"))
        with Pool(doer, shared(tmp_path, host)) as pool:
            assert [result["top1"] for _, result in pool.run([piece])] == [2]
    assert doer.done == [PIECE.name] * 2


def test_a_host_that_comes_back_does_nothing_again(tmp_path: Path, doer: Doer) -> None:
    for _ in range(2):
        with Pool(doer, shared(tmp_path, "left")) as pool:
            assert len(list(pool.run(some(3)))) == 3
    assert len(doer.done) == 3
