"""Short hashes that tell settings, spaces, networks and files apart."""

import json
from typing import Any


def digest(content: bytes) -> str:
    """16 hexadecimal digits of a content."""
    import hashlib  # slow to import, and no help text needs it

    return hashlib.blake2b(content, digest_size=8).hexdigest()


def digest_of(data: dict[str, Any]) -> str:
    """The digest of plain values, in the order in which they are given."""
    return digest(json.dumps(data, separators=(",", ":")).encode())
