"""Files that are never half-written: every write goes to a neighbour that then takes the name."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from qnas.runs.reading import MOST_JSON, parse_rows, read_bytes

log = logging.getLogger("qnas")
PART = ".part"
"""With what the name of a file ends that is not whole yet."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill, finds the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, if it is there, and what a kill left of the next one."""
    for one in (path, path.with_name(path.name + PART)):
        one.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people: indented, one final newline."""
    write_bytes(path, (json.dumps(data, indent=2) + "\n").encode())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines that is appended to; a last line that a kill cut off is removed first, and said.

    Raises:
        ValueError: another line is damaged; the reason has its number.
        OSError: the file cannot be read.
    """
    content = read_bytes(path, MOST_JSON) if path.exists() else b""
    rows, whole = parse_rows(content)
    if not whole:
        write_bytes(path, content[: content.rfind(b"\n") + 1])
        log.info("Dropped the last line of %s, which was cut off.", path)
    return rows


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add one JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; see ``tensors_as_bytes``."""
    write_bytes(path, tensors_as_bytes(tensors, metadata))


def tensors_as_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file, the same bytes for the same content; tensors on a device are copied from it."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata)
    return _ordered(content) if metadata else content


def _ordered(content: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order; the library has another one in every process."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    return len(text).to_bytes(8, "little") + text + content[end:]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
