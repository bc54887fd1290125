"""All commands and options as Markdown, as they declare them: ``python -m qnas.cli.reference > docs/cli.md``."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from typer.models import ArgumentInfo

from qnas.cli.main import app
from qnas.cli.study import app as study_app

HEAD = """# Commands

What `--help` says of every command. This page is made from the code: `python -m qnas.cli.reference > docs/cli.md`.
[howto.md](howto.md) shows the commands at work."""
KINDS = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}


def reference() -> str:
    """The page."""
    return "\n\n".join([HEAD, *_sections()]) + "\n"


def _sections() -> Iterator[str]:
    for commands, called in ((app, "qnas"), (study_app, "qnas study")):
        for command in commands.registered_commands:
            if command.callback and not command.hidden:
                yield _section(f"{called} {command.callback.__name__.replace('_', '-')}", command.callback)


def _section(called: str, function: Callable[..., Any]) -> str:
    lines, places = list[str](), list[str]()
    for option in inspect.signature(function).parameters.values():
        kind, info = get_args(option.annotation)
        if isinstance(info, ArgumentInfo):
            word = info.metavar or option.name.upper()
            places.append(word if option.default is option.empty else f"[{word}]")
        else:
            declared = [info.default] if isinstance(info.default, str) else []  # as typer has it in annotations
            word = _word(option.name, kind, [*declared, *(info.param_decls or ())])
        lines.append(f"- `{word}`: {info.help}{_told(option.default) if info.show_default else ''}")
    return "\n\n".join([f"## {' '.join([called, *places])}", inspect.getdoc(function) or "", "\n".join(lines)])


def _told(default: Any) -> str:
    """A default that is a value."""
    return "" if default in (inspect.Parameter.empty, None, "") or default is False else f" [default: {default}]"


def _word(name: str, kind: Any, declared: list[str]) -> str:
    """An option as it is typed; one that is a choice of two with its other side."""
    spelled = ", ".join(declared) or f"--{name.replace('_', '-')}"
    if kind is bool:
        return spelled if declared else f"{spelled}, --no-{name.replace('_', '-')}"
    (inner,) = {*(get_args(kind) or (kind,))} - {type(None)}
    return f"{spelled} {KINDS.get(inner) or KINDS[get_args(inner)[0]]}"


if __name__ == "__main__":
    print(reference(), end="")
