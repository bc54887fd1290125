"""Files that are never half-written: every write goes to a neighbour that then takes the name."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill, finds the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people: indented, one final newline."""
    write_bytes(path, (json.dumps(data, indent=2) + "\n").encode())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines that is appended to; a last line that a kill cut off is removed first."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        write_bytes(path, "".join(lines[:-1]).encode())
        lines.pop()
    return [json.loads(line) for line in lines]


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add one JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; tensors on a device are copied from it."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
