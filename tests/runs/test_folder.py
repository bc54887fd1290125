"""A run folder: continued with the settings it was begun with, refused with others, and one run at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qnas
from qnas.errors import QnasError
from qnas.runs.folder import LOCK, RUN, locked, open_run, read_run

SETTINGS = {"bits": "w4a4", "trials": 20, "limits": {"max_params": 1000}}
VERSIONS = {"torch": "2.13"}
LOCKS = Path("/proc/locks")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that was begun."""
    open_run(SETTINGS, tmp_path / "run", VERSIONS)
    return tmp_path / "run"


def test_a_begun_run_tells_its_settings_and_versions(folder: Path) -> None:
    assert read_run(folder) == {"qnas": qnas.__version__, **VERSIONS, "settings": SETTINGS}
    assert [path.name for path in folder.iterdir()] == [RUN]


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    open_run(SETTINGS, tmp_path, VERSIONS)
    assert read_run(tmp_path)["settings"] == SETTINGS


def test_the_same_settings_continue_a_run_and_leave_its_file_alone(folder: Path) -> None:
    before = (folder / RUN).read_bytes()
    (folder / "ledger").touch()
    open_run(dict(SETTINGS), folder, {"torch": "3.0"})
    assert (folder / RUN).read_bytes() == before


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"trials": 21}, "trials: 20 there, 21 now"),
        ({"bits": "w2a2", "trials": 5}, "bits: 'w4a4' there, 'w2a2' now; trials: 20 there, 5 now"),
        ({"limits": {"max_params": 7}}, "limits.max_params: 1000 there, 7 now"),
    ],
    ids=["one", "two", "inside"],
)
def test_other_settings_are_refused_with_their_difference(
    folder: Path, change: dict[str, Any], difference: str
) -> None:
    before = (folder / RUN).read_bytes()
    with pytest.raises(QnasError) as error:
        open_run({**SETTINGS, **change}, folder, VERSIONS)
    assert str(error.value) == (
        f"A run is continued with the settings it was begun with, but {folder} differs ({difference}); "
        "give the old settings, or another `out`."
    )
    assert (folder / RUN).read_bytes() == before


@pytest.mark.parametrize(
    "settings",
    [
        {key: value for key, value in SETTINGS.items() if key != "trials"},
        {**SETTINGS, "recipe": "usual"},
        {**SETTINGS, "limits": {**SETTINGS["limits"], "max_macs": 5}},
    ],
    ids=["gone", "new", "new inside"],
)
def test_a_run_of_a_version_with_other_settings_is_refused(folder: Path, settings: dict[str, Any]) -> None:
    before = (folder / RUN).read_bytes()
    with pytest.raises(QnasError) as error:
        open_run(settings, folder, VERSIONS)
    assert str(error.value) == (
        f"A run is continued by a version of qnas that knows the settings it was begun with, but {folder} is of "
        "another version; finish it with that one, or name another `out`."
    )
    assert (folder / RUN).read_bytes() == before


def test_where_versions_have_numbers_what_only_one_side_has_is_a_difference(tmp_path: Path) -> None:
    open_run({"way": 3, "limits": {"params": 0}, "target": None}, tmp_path / "run", {})
    now = {"way": 3, "limits": {"params": 0, "flash": 7}, "target": {"name": "m4"}, "threads": 2}
    with pytest.raises(QnasError) as error:
        open_run(now, tmp_path / "run", {})
    for difference in (
        "limits.flash: None there, 7 now", "target: None there, {'name': 'm4'} now", "threads: None there, 2 now",
    ):  # fmt: skip
        assert difference in str(error.value)
    with pytest.raises(QnasError, match="is of another version"):
        open_run({**now, "way": 4}, tmp_path / "run", {})


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(QnasError) as error:
        open_run(SETTINGS, tmp_path, VERSIONS)
    assert str(error.value) == f"A run folder holds run.json, but {tmp_path} holds other files; name another `out`."
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_what_a_kill_left_of_the_first_file_is_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "run.json.part").write_bytes(b'{"qnas"')
    open_run({"bits": "w4a4"}, tmp_path, {})
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]
    assert read_run(tmp_path)["settings"] == {"bits": "w4a4"}


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(QnasError, match=r"A run needs a folder, but .*file is none \(.*\); name another `out`\."):
        open_run(SETTINGS, tmp_path / "file", VERSIONS)


DAMAGED = {"empty": b"", "cut off": b'{"qnas": "1', "no UTF-8": b"\xff\xfe", "a list": b"[1, 2]"}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_settings_end_as_one_sentence(folder: Path, content: bytes) -> None:
    (folder / RUN).write_bytes(content)
    for attempt in (lambda: read_run(folder), lambda: open_run(SETTINGS, folder, VERSIONS)):
        with pytest.raises(QnasError) as error:
            attempt()
        assert str(error.value).startswith(f"{folder / RUN} cannot be read as a run's settings (")
        assert str(error.value).endswith("); name the folder of a run, or another `out`.")
        assert "\n" not in str(error.value)
    assert (folder / RUN).read_bytes() == content


@pytest.mark.parametrize("content", [{}, {"settings": None}, {"settings": [1]}], ids=str)
def test_a_file_without_settings_is_refused(folder: Path, content: dict[str, object]) -> None:
    (folder / RUN).write_text(json.dumps(content), encoding="utf-8")
    for attempt in (lambda: read_run(folder), lambda: open_run(SETTINGS, folder, VERSIONS)):
        with pytest.raises(QnasError) as error:
            attempt()
        assert str(error.value) == (f"{folder / RUN} holds no settings; name the folder of a run, or another `out`.")


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(QnasError, match=r"run.json cannot be read as a run's settings .*name the folder of a run"):
        read_run(tmp_path)


def test_a_second_run_in_a_folder_is_refused_while_the_first_works(folder: Path) -> None:
    with locked(folder):
        with pytest.raises(QnasError) as error, locked(folder):
            pass
        said = str(error.value).replace(f"process {os.getpid()}", "one")
        assert said == f"One run at a time works in a folder, and one does in {folder}; wait for it."
    with locked(folder):
        assert (folder / LOCK).exists()


def test_a_run_of_another_process_keeps_this_one_out(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from qnas.runs.folder import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('at work', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "at work\n"
        told = f":{(folder / LOCK).stat().st_ino} " in LOCKS.read_text() if LOCKS.exists() else False
        who = f"process {other.pid}" if told else "one"
        with pytest.raises(QnasError, match=f"One run at a time works in a folder, and {who} does"), locked(folder):
            pass
        other.kill()
    with locked(folder):
        pass


def test_of_several_locks_of_one_number_none_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of different file systems may have the same number."""
    with locked(folder):
        line = f"1: FLOCK  ADVISORY  WRITE 777 00:2f:{(folder / LOCK).stat().st_ino} 0 EOF\n"
        for lines, who in ((line, "process 777"), (line + line.replace("777", "778"), "one"), ("nonsense\n", "one")):
            (tmp_path / "locks").write_text(lines)
            monkeypatch.setattr("qnas.runs.folder.LOCKS", tmp_path / "locks")
            with pytest.raises(QnasError, match=f"and {who} does in"), locked(folder):
                pass


def test_an_error_inside_ends_the_lock(folder: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locked(folder):
        raise ValueError("inside")
    with locked(folder):
        pass


def test_images_may_move_but_not_change(tmp_path: Path) -> None:
    images = {"classes": ["cat", "dog"], "train": 40, "pixels": "ab12"}
    open_run({**SETTINGS, "data": "/here", "images": images}, tmp_path, VERSIONS)
    open_run({**SETTINGS, "data": "/there", "images": dict(images)}, tmp_path, VERSIONS)
    assert read_run(tmp_path)["settings"] == {**SETTINGS, "data": "/there", "images": images}  # noted, for exports
    swapped = {**images, "classes": ["dog", "cat"], "pixels": "cd34"}
    with pytest.raises(QnasError) as error:
        open_run({**SETTINGS, "data": "/there", "images": swapped}, tmp_path, VERSIONS)
    assert str(error.value) == (
        f"A run is continued with the settings it was begun with, but {tmp_path} differs (images.classes: ['cat', "
        "'dog'] there, ['dog', 'cat'] now; the images themselves, or which class they are of (hash of all pixels and "
        "labels): 'ab12' there, 'cd34' now); give the old settings, or another `out`."
    )
    with pytest.raises(QnasError, match=r"bits: 'w4a4' there, 'w2a2' now"):  # wherever they lie
        open_run({**SETTINGS, "bits": "w2a2", "data": "/here", "images": images}, tmp_path, VERSIONS)
    with pytest.raises(QnasError, match=r"images\.train: 40 there, 41 now"):
        open_run({**SETTINGS, "data": "/here", "images": {**images, "train": 41}}, tmp_path, VERSIONS)


def test_another_place_without_known_images_is_another_run(tmp_path: Path) -> None:
    open_run({**SETTINGS, "data": "/here"}, tmp_path, VERSIONS)
    with pytest.raises(QnasError, match="data: '/here' there, '/there' now"):
        open_run({**SETTINGS, "data": "/there"}, tmp_path, VERSIONS)


def test_a_long_value_is_cut_in_the_difference(tmp_path: Path) -> None:
    open_run({"names": "a" * 5_000}, tmp_path, VERSIONS)
    with pytest.raises(QnasError) as error:
        open_run({"names": "b" * 5_000}, tmp_path, VERSIONS)
    assert len(str(error.value)) < 1_000
