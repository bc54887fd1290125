"""The one reader of files that may be damaged: whatever goes wrong inside ends as one clear sentence."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from qnas.errors import QnasError

DAMAGE = (OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError)
"""What readers of JSON, TOML, gzip and safetensors raise, and whoever takes a value for what it is not."""
LONGEST = 120


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
        reason = (reason.splitlines() or [type(error).__name__])[0][:LONGEST]
        raise QnasError(f"{path} cannot be read as {what} ({reason}); {remedy}.") from error


def read_json(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        QnasError: it is missing, no JSON, or another value.
    """
    with reading(path, what, remedy):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"it holds {type(content).__name__} instead of named values")
    return content
