"""Files are either old or new, never a part."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from qnas.runs.files import read_rows, remove, write_bytes, write_json, write_rows, write_tensors


def refuse(*_: object) -> None:
    raise OSError("no space left")


def test_bytes_are_written_into_folders_that_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file", b"content")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"content"


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": [0.5, None]}, {"b": "two words"}]
    write_rows(tmp_path / "rows", rows)
    assert (tmp_path / "rows").read_text().count("\n") == 2
    assert read_rows(tmp_path / "rows") == rows


def test_new_content_replaces_the_old_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"a long first content")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, failing, refuse)
    with pytest.raises(OSError, match="no space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"


def test_the_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    replace = os.replace

    def replace_later(source: Path, target: Path) -> None:
        calls.append("replace")
        assert source.read_bytes() == b"new"
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr(os, "replace", replace_later)
    write_bytes(tmp_path / "file", b"new")
    assert calls == ["fsync", "replace"]


def test_what_a_kill_left_of_a_file_goes_with_it(tmp_path: Path) -> None:
    for name in ("file", "file.part", "other"):
        (tmp_path / name).touch()
    remove(tmp_path / "file")
    remove(tmp_path / "file")
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def test_json_is_indented_and_ends_in_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "data.json", {"a": [1]})
    text = (tmp_path / "data.json").read_text(encoding="utf-8")
    assert text == '{\n  "a": [\n    1\n  ]\n}\n'
    assert json.loads(text) == {"a": [1]}


def test_tensors_are_read_back_with_their_header(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    tensors = {"a": torch.randn(3, 4).t(), "b": torch.arange(5), "c": torch.randn(2).requires_grad_()}
    write_tensors(path, tensors, {"key": "value"})
    found = load_file(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"key": "value"}


def test_tensors_and_their_header_are_the_same_bytes_in_whatever_order_they_come(tmp_path: Path) -> None:
    names = [f"key {place}" for place in range(20)]
    for path, order in ((tmp_path / "one", names), (tmp_path / "other", names[::-1])):
        write_tensors(path, {"a": torch.ones(3), "b": torch.zeros(5)}, {name: f'{name} "\u00e4"' for name in order})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    size = int.from_bytes((tmp_path / "one").read_bytes()[:8], "little")
    assert size % 8 == 0
    with safe_open(tmp_path / "one", framework="pt") as file:
        assert file.metadata() == {name: f'{name} "\u00e4"' for name in names}
    assert torch.equal(load_file(tmp_path / "other")["b"], torch.zeros(5))


def test_a_row_that_was_cut_off_is_dropped_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n{"a"')
    with caplog.at_level("INFO", "qnas"):
        assert read_rows(path) == [{"a": 1}, {"a": 2}]
    assert caplog.messages == [f"Dropped the last line of {path}, which was cut off."]
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n'


@pytest.mark.parametrize("line", [b"garbage", b"3", b"", b"\xff", b'{"a": 1, "a": 2}', b"[" * 10**5], ids=range(6))
def test_another_damaged_row_is_named_with_its_number_and_the_file_stays(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "rows"
    content = b'{"a": 1}\n' + line + b'\n{"a"'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^line 2"):
        read_rows(path)
    assert path.read_bytes() == content
