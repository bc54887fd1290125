"""Settings are known once: defaults of the command line are those of settings and face; its bodies are short."""

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qnas
from qnas.cli import fit, search, show, study
from qnas.nas.settings import SearchSettings
from qnas.quant.scheme import Bits
from qnas.studies.settings import TableSettings
from qnas.training.fit_settings import FitSettings

VERBS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "search": (search.search, qnas.search),
    "export": (search.export, qnas.export),
    "sample": (show.sample, qnas.sample),
    "fit-ghn": (fit.fit_ghn, qnas.fit_ghn),
    "eval-ghn": (fit.eval_ghn, qnas.evaluate_ghn),
    "eval-proxy": (study.eval_proxy, qnas.evaluate_proxy),
    "study table": (study.table, qnas.benchmark_table),
}
SETTINGS = {
    "search": SearchSettings(Bits(4, 4)),
    "fit-ghn": FitSettings(),
    "study table": TableSettings("", "", ""),
}
OTHERWISE = {("search", "workers"), ("study table", "workers"), ("eval-proxy", "table")}
"""A command takes every core where a call of the face takes one process; names that stand for the data's own."""
CALLED = {"max_minutes": "minutes"}


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Its arguments that have a default: plain, without nothing-given told apart."""
    parameters = inspect.signature(function).parameters.values()
    given = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    return {CALLED.get(name, name): value for name, value in given.items()}


def plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else (value or None)


@pytest.mark.parametrize("name", VERBS)
def test_a_command_has_the_defaults_of_its_verb(name: str) -> None:
    command, verb = (defaults(function) for function in VERBS[name])
    shared = {key for key in command.keys() & verb.keys() if (name, key) not in OTHERWISE}
    assert len(shared) >= 2
    assert {key: plain(command[key]) for key in shared} == {key: plain(verb[key]) for key in shared}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_command_has_the_defaults_of_its_settings(name: str) -> None:
    command, settings = defaults(VERBS[name][0]), SETTINGS[name]
    shared = {key for key in command if hasattr(settings, key) and (name, key) not in OTHERWISE}
    shared -= {"bits", "pareto", "recipe", "data", "ghn", "space"}  # text, or left out for what the data suggest
    assert len(shared) >= 3
    assert {key: plain(command[key]) for key in shared} == {key: plain(getattr(settings, key)) for key in shared}


FILES = sorted(Path(search.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_bodies_of_commands_only_parse_call_and_print(path: Path) -> None:
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
            assert (function.body[-1].end_lineno or 0) - first.lineno < 25, function.name
