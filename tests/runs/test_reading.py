"""A damaged file of any kind ends as one sentence that names it, what it should be, and what to do."""

import gzip
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qnas.errors import QnasError
from qnas.runs import reading as bounds
from qnas.runs.reading import (
    LONGEST,
    check_file,
    expect,
    parse_json,
    read_json,
    read_tensors,
    reading,
    unzipped,
)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


Read = Callable[[Path], object]
READERS: dict[str, Read] = {
    "json": lambda path: json.loads(text_of(path))["wanted"],
    "toml": lambda path: tomllib.loads(text_of(path))["wanted"],
    "gzip": lambda path: gzip.decompress(path.read_bytes()).decode()[0],
    "safetensors": lambda path: load_file(path)["wanted"],
}


def write(kind: str, path: Path) -> None:
    """An undamaged file."""
    if kind == "json":
        path.write_text('{"wanted": [1, 2, 3]}', encoding="utf-8")
    elif kind == "toml":
        path.write_text('wanted = [1, 2, "three"]\n', encoding="utf-8")
    elif kind == "safetensors":
        save_file({"wanted": torch.arange(100.0)}, path)
    else:
        path.write_bytes(gzip.compress(bytes(range(32, 127)) * 3))


def message(path: Path, read: Read) -> str:
    """The one sentence that a reader's failure ends as."""
    with pytest.raises(QnasError) as error, reading(path, "a made-up file", "make it anew"):
        read(path)
    return str(error.value)


def check(text: str, path: Path) -> None:
    assert text.startswith(f"{path} cannot be read as a made-up file (")
    assert text.endswith("); make it anew.")
    assert "\n" not in text
    assert "a made-up file ()" not in text


@pytest.mark.parametrize("kind", READERS)
def test_an_undamaged_file_is_read(tmp_path: Path, kind: str) -> None:
    write(kind, tmp_path / "file")
    with reading(tmp_path / "file", "a made-up file", "make it anew"):
        found = READERS[kind](tmp_path / "file")
    assert found is not None


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "a part": lambda content: content[: len(content) // 2],
    "all but the end": lambda content: content[:-3],
    "another kind": lambda content: b"\x80\x02}q\x00." * 100,
    "no UTF-8": lambda content: b"\xff\xfe\xfa",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_file_ends_as_one_sentence(tmp_path: Path, kind: str, damage: str) -> None:
    path = tmp_path / "file"
    write(kind, path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    check(message(path, READERS[kind]), path)


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file_ends_as_one_sentence(tmp_path: Path, kind: str) -> None:
    check(message(tmp_path / "none", READERS[kind]), tmp_path / "none")


@pytest.mark.parametrize("kind", READERS)
def test_a_folder_in_place_of_a_file_ends_as_one_sentence(tmp_path: Path, kind: str) -> None:
    check(message(tmp_path, READERS[kind]), tmp_path)


SURPRISES: dict[str, tuple[object, Callable[[Any], object]]] = {
    "no such key": ({}, lambda content: content["wanted"]),
    "a list instead of names": ([1], lambda content: content["wanted"]),
    "a number instead of names": (3, lambda content: content["wanted"]),
    "an empty list": ([], lambda content: content[0]),
    "a text instead of names": ("text", lambda content: content.items()),
    "a text instead of a number": ("text", float),
    "nothing instead of a list": (None, list),
    "an unknown argument": ({"depth": 3}, lambda content: Point(**content)),
}


@dataclass
class Point:
    x: int = 0


@pytest.mark.parametrize("surprise", SURPRISES)
def test_a_file_that_holds_something_else_ends_as_one_sentence(tmp_path: Path, surprise: str) -> None:
    path, (content, read) = tmp_path / "file", SURPRISES[surprise]
    path.write_text(json.dumps(content), encoding="utf-8")
    check(message(path, lambda path: read(json.loads(text_of(path)))), path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    def look(path: Path) -> object:
        return {}["wanted"]

    assert "(KeyError: 'wanted')" in message(tmp_path / "file", look)


def test_of_a_long_reason_the_first_line_is_told_and_no_more_than_fits(tmp_path: Path) -> None:
    def fail(path: Path) -> object:
        raise ValueError("x" * 1000 + "\nand so on")

    text = message(tmp_path / "file", fail)
    assert text == f"{tmp_path / 'file'} cannot be read as a made-up file ({'x' * LONGEST}); make it anew."


def test_a_reason_without_words_is_told_by_its_kind(tmp_path: Path) -> None:
    def fail(path: Path) -> object:
        raise EOFError

    assert "(EOFError)" in message(tmp_path / "file", fail)


def test_the_cause_stays_for_whoever_looks(tmp_path: Path) -> None:
    with pytest.raises(QnasError) as error, reading(tmp_path, "a made-up file", "make it anew"):
        raise ValueError("the cause")
    assert isinstance(error.value.__cause__, ValueError)


def test_a_sentence_from_inside_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(QnasError, match=r"^already said$"), reading(tmp_path, "a made-up file", "make it anew"):
        raise QnasError("already said")


def test_a_stop_from_outside_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), reading(tmp_path, "a made-up file", "make it anew"):
        raise KeyboardInterrupt


def test_named_values_are_read_from_json(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"name": "é", "values": [1]}', encoding="utf-8")
    assert read_json(tmp_path / "file", "a made-up file", "make it anew") == {"name": "é", "values": [1]}


@pytest.mark.parametrize(("content", "kind"), [("[1]", "list"), ("3", "int"), ("null", "NoneType"), ('"a"', "str")])
def test_json_of_anything_but_named_values_is_refused(tmp_path: Path, content: str, kind: str) -> None:
    path = tmp_path / "file"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(QnasError) as error:
        read_json(path, "a made-up file", "make it anew")
    assert str(error.value) == (
        f"{path} cannot be read as a made-up file (it holds {kind} instead of named values); make it anew."
    )


def test_a_file_has_as_many_bytes_as_it_may_and_not_one_more(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 2_999, 3_000):
        path.write_bytes(bytes(size))
        check_file(path, 3_000)
    for size in (3_001, 9_000):
        path.write_bytes(bytes(size))
        with pytest.raises(ValueError, match="it has more than 3,000 bytes"):
            check_file(path, 3_000)


def test_a_gzipped_file_unpacks_to_as_many_bytes_as_it_may_and_not_one_more(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(b"x" * 3_000))
    assert unzipped(path, 3_000) == b"x" * 3_000
    with pytest.raises(ValueError, match="it unpacks to more than 2,999 bytes"):
        unzipped(path, 2_999)


def test_what_stands_for_far_more_than_it_has_is_no_honest_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "SMALL", 100)
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(bytes(1_000_000)))
    with pytest.raises(ValueError, match="it unpacks to more than"):
        unzipped(path, 10**9)


@pytest.mark.parametrize("text", ["[1,2,3,4,5,6,7,8]", '{"a":{"b":1}}', "[[],[],[],[]]", '[{"a":1},2,3,4]'])
def test_json_has_as_many_values_as_it_may_and_not_one_more(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma and a bracket are a value each, names count fourfold."""
    monkeypatch.setattr(bounds, "MOST_VALUES", 8)
    parse_json(text.encode())
    monkeypatch.setattr(bounds, "MOST_VALUES", 7)
    with pytest.raises(ValueError, match="it has more than 7 values"):
        parse_json(text.encode())


def test_json_has_as_many_levels_as_it_may_and_not_one_more() -> None:
    parse_json("[" * (bounds.DEEPEST - 1) + "1" + "]" * (bounds.DEEPEST - 1))
    with pytest.raises(ValueError, match=f"it has more than {bounds.DEEPEST} levels"):
        parse_json("[" * bounds.DEEPEST + "1" + "]" * bounds.DEEPEST)


def test_numbers_and_letters_are_looked_at_on_every_level() -> None:
    with pytest.raises(ValueError, match="more than 30 digits"):
        parse_json('{"a": [[' + "9" * 31 + "]]}")
    with pytest.raises(ValueError, match="a letter that no terminal shows"):
        parse_json('{"a": [{"b": "\\u001b"}]}')


def test_tensors_are_those_that_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tensors"
    save_file({"a": torch.arange(6.0).view(2, 3)}, path, {"told": "this"})
    found, header = read_tensors(path, lambda header: {"a": (2, 3)} if header == {"told": "this"} else {})
    assert (found["a"].tolist(), header) == ([[0, 1, 2], [3, 4, 5]], {"told": "this"})
    for wanted, reason in (({}, "unknown tensor 'a'"), ({"a": (3, 2)}, "the shape"), ({"b": (1,)}, "no tensor 'b'")):
        with pytest.raises(ValueError, match=reason):
            read_tensors(path, lambda header, wanted=wanted: wanted)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    monkeypatch.setattr(bounds, "MOST_HEADER", length)
    read_tensors(path)
    monkeypatch.setattr(bounds, "MOST_HEADER", length - 1)
    with pytest.raises(ValueError, match=f"no header of at most {length - 1} bytes"):
        read_tensors(path)


def test_values_are_held_against_a_shape() -> None:
    shape = {"n": int, "x": (float,), "names": {str: [bool]}, "more?": str}
    expect({"n": 1, "x": None, "names": {"a": [True], "b": []}}, shape)
    expect({"n": 1, "x": 2, "names": {}, "more": "yes"}, shape)
    for wrong, reason in (
        ({"n": True, "x": 1, "names": {}}, "n is True instead of a whole number"),
        ({"n": 1, "x": "2", "names": {}}, "x is '2' instead of a number"),
        ({"n": 1, "x": 1, "names": {"a": [True, 0]}}, r"names\.a\[1\] is 0 instead of true or false"),
        ({"n": 1, "x": 1}, "it has no names"),
        ({"n": 1, "x": 1, "names": {}, "more": 1}, "more is 1 instead of a text"),
    ):
        with pytest.raises(ValueError, match=reason):
            expect(wrong, shape)
