"""Texts that are made from templates beside the code."""

from pathlib import Path
from typing import Any

import jinja2


def templates_in(folder: Path, **how: Any) -> jinja2.Environment:
    """The templates of a folder: what they name must be there, their statements leave no lines, texts are escaped.

    Args:
        folder: of the templates.
        how: what is otherwise, as ``jinja2.Environment`` has it.
    """
    usual = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    return jinja2.Environment(loader=jinja2.FileSystemLoader(folder), **{**usual, **how})
