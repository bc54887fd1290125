"""The one reader of files that may be damaged, or of strangers: bounded before it allocates, and never pickled.

Whatever goes wrong inside ends as one short sentence. A file is read if it is a regular one of a size that its kind
can have; JSON and TOML have few digits, levels and values, each name once, and letters that a terminal can show.
"""

import gzip
import json
import stat
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from qnas.errors import UNPRINTABLE, QnasError, printable, shown

if TYPE_CHECKING:
    from torch import Tensor

DAMAGE = (
    OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, MemoryError,
    SafetensorError,
)  # fmt: skip
"""What readers of JSON, TOML, gzip and safetensors raise, and whoever takes a value for what it is not."""
LONGEST = 120
"""Letters of a reason."""
MOST_TOML, MOST_JSON, MOST_TENSORS = 1 << 15, 1 << 26, 1 << 31
"""Bytes of a file of each kind."""
LONGEST_LINE = 2_000
"""Letters of a line of TOML, whose reader takes the square of a name's parts."""
MOST_HEADER = 1 << 20
"""Bytes of the header of a safetensors file."""
MOST_DIGITS, MOST_VALUES, DEEPEST = 30, 2_000_000, 24
"""Digits of a whole number, values of a JSON file (names count fourfold), and levels of lists and tables."""
DENSEST = 250
"""Bytes that one of gzip may stand for in files above ``SMALL``: deflate makes up to 1,032 of zeros alone."""
SMALL = 1 << 24
Shape = Any
"""What a value should be like (``expect``)."""


@contextmanager
def reading(path: Path, what: str, remedy: str) -> Iterator[None]:
    """Read a file inside the block.

    Args:
        path: of the file.
        what: it should hold, with its article.
        remedy: what the user does next.

    Raises:
        QnasError: anything inside failed; it names the file, what it should hold, the reason and the remedy.
    """
    try:
        yield
    except QnasError:
        raise
    except DAMAGE as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else str(error)
        reason = printable((reason.splitlines() or [type(error).__name__])[0][:LONGEST])
        raise QnasError(f"{path} cannot be read as {what} ({reason}); {remedy}.") from error


def check_file(path: Path, most: int) -> None:
    """Check that a path leads to a regular file of no more than so many bytes.

    Raises:
        ValueError: it is larger, or none, such as a pipe that would never end.
        OSError: there is nothing.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no regular file")
    if found.st_size > most:
        raise ValueError(f"it has more than {most:,} bytes")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file (``check_file``)."""
    check_file(path, most)
    return path.read_bytes()


def unzipped(path: Path, most: int) -> bytes:
    """The content of a gzipped file.

    Raises:
        ValueError: it is of more than so many bytes, or of so many for its size that it is no honest file.
        OSError, EOFError: it is damaged.
    """
    check_file(path, most)
    most = min(most, max(SMALL, DENSEST * path.stat().st_size))
    with gzip.open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it unpacks to more than {most:,} bytes")
    return content


def read_json(path: Path, what: str, remedy: str, shape: dict[str, Shape] | None = None) -> dict[str, Any]:
    """A file that holds one JSON object.

    Args:
        path: of the file.
        what: see ``reading``.
        remedy: see ``reading``.
        shape: of its values (``expect``), if that is to be checked.

    Raises:
        QnasError: it is missing, no JSON, another value, or out of bounds.
    """
    with reading(path, what, remedy):
        content = parse_json(read_bytes(path, MOST_JSON))
        if not isinstance(content, dict):
            raise TypeError(f"it holds {type(content).__name__} instead of named values")
        expect(content, shape or {})
    return content


def read_toml(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        QnasError: it is missing, no TOML, or out of bounds.
    """
    import tomllib  # slow to import, and no help text needs it

    with reading(path, what, remedy):
        text = read_bytes(path, MOST_TOML).decode("utf-8-sig")
        if max(map(len, text.splitlines()), default=0) > LONGEST_LINE:
            raise ValueError(f"a line has more than {LONGEST_LINE:,} letters")
        content = tomllib.loads(text)
        _check_values(content)
    return content


def parse_rows(content: bytes) -> tuple[list[dict[str, Any]], bool]:
    """The whole rows of JSON lines, and whether the last line is whole, or was cut off by a kill.

    Raises:
        ValueError: another line is damaged; the reason has its number.
    """
    _check_count(content)
    lines = content.removeprefix(BOM_UTF8).splitlines(keepends=True)
    whole = not lines or lines[-1].endswith(b"\n")
    return [parse_row(line, number) for number, line in enumerate(lines if whole else lines[:-1], 1)], whole


def parse_row(line: bytes, number: int) -> dict[str, Any]:
    """One line of JSON lines.

    Raises:
        ValueError: it is damaged; the reason has its number.
    """
    try:
        row = parse_json(line)
    except DAMAGE as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number} holds {type(row).__name__} instead of named values")
    return row


def read_tensors(
    path: Path, wanted: Callable[[dict[str, str]], Mapping[str, tuple[int, ...]]] | None = None
) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """The tensors of a safetensors file by their names, and what else its header says.

    Args:
        path: of the file.
        wanted: says by the header which tensors there have to be, of which shapes, before there is room for any.

    Raises:
        ValueError, OSError, SafetensorError: it is damaged, out of bounds, or no regular file.
    """
    check_file(path, MOST_TENSORS)
    with path.open("rb") as start:
        if int.from_bytes(start.read(8), "little") > MOST_HEADER:
            raise ValueError(f"it begins with no header of at most {MOST_HEADER:,} bytes")
    with safe_open(path, framework="pt") as file:
        names, header = list(file.keys()), file.metadata() or {}
        if wanted:
            check_shapes({name: file.get_slice(name).get_shape() for name in names}, wanted(header))
        return {name: file.get_tensor(name) for name in names}, header


def check_shapes(found: Mapping[str, Sequence[int]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Check that the tensors of a file are those that are wanted, by their names and shapes.

    Raises:
        ValueError: one is missing, of another shape, or not wanted.
    """
    for name in (*wanted, *found):
        if name not in found:
            raise ValueError(f"it has no tensor {shown(name)}")
        if name not in wanted:
            raise ValueError(f"it has an unknown tensor {shown(name)}")
        there, due = list(found[name]), list(wanted[name])
        if there != due:
            raise ValueError(f"its tensor {shown(name)} has the shape {there} instead of {due}")


def not_finite(found: Mapping[str, "Tensor"]) -> list[str]:
    """The names of the tensors that have values that are no numbers."""
    return [name for name, value in found.items() if not value.isfinite().all()]


def parse_json(content: bytes | str) -> Any:
    """A JSON value of a file or of a header.

    Raises:
        ValueError: it is no JSON, has a name twice, or is out of bounds.
        RecursionError: it is far too deep.
    """
    _check_count(content)
    text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    value = json.loads(text, parse_int=_whole, object_pairs_hook=_named)
    _check_values(value)
    return value


def _check_count(content: bytes | str) -> None:
    """Check, before anything is made of them, that JSON has not too many values."""
    text = content if isinstance(content, bytes) else content.encode(errors="replace")
    if text.count(b"[") + text.count(b",") + 4 * text.count(b"{") > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values")


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number has more than {MOST_DIGITS} digits, {text[:9]}...")
    return int(text)


def _named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{shown(next(name for name in names if names.count(name) > 1))} stands there twice")
    return named


def _check_values(value: Any) -> None:
    """Check depth, letters and digits, level by level."""
    level = [value]
    for _ in range(DEEPEST + 1):
        if not level:
            return
        for one in level:
            if isinstance(one, str) and UNPRINTABLE.search(one):
                raise ValueError(f"it has a letter that no terminal shows in {shown(one)}")
            if type(one) is int and abs(one) >= 10**MOST_DIGITS:
                raise ValueError(f"a number has more than {MOST_DIGITS} digits")
        tables = chain.from_iterable(chain(one, one.values()) for one in level if isinstance(one, dict))
        level = [*tables, *chain.from_iterable(one for one in level if isinstance(one, list))]
    raise ValueError(f"it has more than {DEEPEST} levels")


def expect(value: Any, shape: Shape, place: str = "") -> None:
    """Check that a value read from a file is like a shape.

    Args:
        value: plain values.
        shape: a type (``float`` takes whole numbers too); a list of one, the shape of every item; a table of what has
            to be there by its name, or may be where the name ends in a question mark, or under ``str`` for every name;
            a tuple of one, which may be null.
        place: of the value in the file.

    Raises:
        ValueError: it is not; the reason names the place.
    """
    if isinstance(shape, tuple):
        if value is not None:
            expect(value, shape[0], place)
        return
    kind = shape if isinstance(shape, type) else type(shape)
    if not (type(value) in (int, float) if kind is float else type(value) is kind):
        raise ValueError(f"{place or 'it'} is {shown(value, 40)} instead of {_WORDS[kind]}")
    if isinstance(shape, list):
        for number, one in enumerate(value):
            expect(one, shape[0], f"{place}[{number}]")
    elif isinstance(shape, dict):
        for name, inner in shape.items():
            for key in value if name is str else (name.removesuffix("?"),):
                if key in value:
                    expect(value[key], inner, f"{place}.{key[: LONGEST // 4]}".removeprefix("."))
                elif not name.endswith("?"):
                    raise ValueError(f"{place or 'it'} has no {key}")


_WORDS: dict[type, str] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list",
    dict: "named values",
}  # fmt: skip
