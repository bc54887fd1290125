"""The command line beside the face: the same defaults, short bodies, and errors in the words of its options."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import qnas
from qnas.cli import study
from qnas.cli.errors import COMMANDS, in_options
from qnas.cli.main import app
from qnas.nas.limits import Limits
from qnas.nas.settings import SearchSettings
from qnas.quant.scheme import Bits
from qnas.studies.settings import TableSettings
from qnas.training.fit_settings import FitSettings
from qnas.training.recipe import Recipe

PACKAGE = Path(qnas.__file__).parent
VERBS = {
    "search": "search",
    "train": "train",
    "show": "show",
    "report": "report",
    "dashboard": "dashboard",
    "logs": "logs",
    "data": "survey",
    "export": "export",
    "sample": "sample",
    "fit_ghn": "fit_ghn",
    "eval_ghn": "evaluate_ghn",
    "eval_proxy": "evaluate_proxy",
    "table": "benchmark_table",
    "init": "study_init",
    "layers": "study_layers",
}
"""Commands by the names of their functions, and the verbs of the face that they call."""
SETTINGS: dict[str, Any] = {
    "search": SearchSettings(Bits(4, 4)),
    "fit_ghn": FitSettings(),
    "table": TableSettings("", "", ""),
}
FROM_DATA = {"data", "space", "ghn", "bits", "recipe", "top", "trials", "target"}
"""Arguments of the face whose default says that the data, a recipe, the time or no device decides."""
RENAMED = {
    ("eval_ghn", "split"): "splits",
    ("eval_proxy", "data"): "table",  # whose shipped table is used, where no other one is named
}
OWN = {
    ("sample", "out"): None,
    ("data", "sheet"): None,
    ("data", "json_output"): False,
    ("train", "recipe"): None,
    ("train", "out"): None,
    ("train", "json_output"): False,
    ("search", "pareto"): "",  # of none, for which the face has an empty tuple
    ("eval_ghn", "json_output"): False,
    ("eval_ghn", "figure"): None,
    ("eval_ghn", "scores"): None,
    ("eval_proxy", "table"): None,
    ("eval_proxy", "json_output"): False,
    ("eval_proxy", "figure"): None,
    ("export", "json_output"): False,
    ("search", "json_output"): False,
    ("search", "workers"): 0,
    ("table", "workers"): 0,
    ("init", "json_output"): False,
    ("init", "workers"): 0,
    ("layers", "out"): None,
    ("layers", "json_output"): False,
    ("layers", "csv_output"): False,
}
"""Where and how results are shown, which is no business of the face. And a program starts a process a core, where a
library works in its caller's alone, whose script may not be guarded against being imported by the others."""


def callbacks() -> dict[str, Callable[..., None]]:
    """The functions of all commands by their names."""
    registered = [*app.registered_commands, *study.app.registered_commands]
    return {info.callback.__name__: info.callback for info in registered if info.callback}


def words_of(command: Any, path: str = "") -> dict[str, set[str]]:
    """Of every command, by how it is called, its options, and its positional arguments in capitals."""
    if hasattr(command, "commands"):
        below = [words_of(one, f"{path} {name}".strip()) for name, one in command.commands.items()]
        return {called: words for part in below for called, words in part.items()}
    options = {name for param in command.params if param.param_type_name == "option" for name in param.opts}
    return {path: options | {param.name.upper() for param in command.params if param.param_type_name == "argument"}}


CALLBACKS = callbacks()
COMMAND_WORDS = words_of(get_command(app))
DEFAULTS = [
    (name, option.name, option.default)
    for name, callback in CALLBACKS.items()
    for option in inspect.signature(callback).parameters.values()
    if option.default is not inspect.Parameter.empty
]


def plain(value: Any) -> Any:
    """A default as both sides write it: no choice is empty, a path is its text."""
    return () if value is None else str(value) if isinstance(value, Path) else value


def of_face(command: str, argument: str) -> list[Any]:
    """The default of the verb's argument that is called so, if there is one."""
    arguments = inspect.signature(getattr(qnas, VERBS[command])).parameters
    found = [arguments[argument].default] if argument in arguments else []
    return [value for value in found if value is not inspect.Parameter.empty]


def of_settings(command: str, argument: str) -> list[Any]:
    """The default of the field of the command's settings that is called so, if there is one."""
    settings = SETTINGS.get(command)
    return [getattr(settings, argument)] if settings and argument in {item.name for item in fields(settings)} else []


def test_every_command_calls_a_verb() -> None:
    assert CALLBACKS.keys() == VERBS.keys()
    for name, verb in VERBS.items():
        source = inspect.getsource(CALLBACKS[name])
        assert f"qnas.{verb}(" in source or name in ("show", "report")  # which are told how calls are typed


@pytest.mark.parametrize(("command", "option", "default"), DEFAULTS, ids=[f"{one} {two}" for one, two, _ in DEFAULTS])
def test_a_default_is_that_of_the_face_or_of_the_settings(command: str, option: str, default: Any) -> None:
    if (command, option) in OWN:
        assert default == OWN[command, option]
        return
    argument = RENAMED.get((command, option), option)
    expected, *_ = [*of_face(command, argument), *of_settings(command, argument)]
    assert plain(default) == plain(expected)


@pytest.mark.parametrize("command", SETTINGS)
def test_the_face_has_the_defaults_of_the_settings(command: str) -> None:
    arguments = {item.name for item in fields(SETTINGS[command])} - FROM_DATA
    compared = [name for name in arguments if of_face(command, name)]
    assert command == "fit_ghn" or "seed" in compared
    for name in compared:
        assert of_face(command, name) == of_settings(command, name)


def test_every_command_that_takes_a_folder_of_images_takes_their_size() -> None:
    takes = {name for name, callback in CALLBACKS.items() if "data" in inspect.signature(callback).parameters}
    for name in takes - {"eval_proxy"}:  # which takes the name of a table
        assert "image=image" in inspect.getsource(CALLBACKS[name])


def test_no_help_shows_a_0_that_stands_for_something_else() -> None:
    words = "Default:|instead of|0:|0 for"
    for name, callback in CALLBACKS.items():
        for option in inspect.signature(callback).parameters.values():
            info, default = option.annotation.__metadata__[0], option.default
            if (
                type(default) in (int, float)
                and not default
                and option.name not in ("seed", "float_share", "closed_head")
            ):
                assert re.search(words, info.help), (name, option.name)
                assert info.show_default is not bool(re.search("Default:|instead of", info.help)), (name, option.name)


def test_every_option_that_is_an_exception_exists() -> None:
    known = {(command, option) for command, option, _ in DEFAULTS}
    assert OWN.keys() | RENAMED.keys() <= known


def test_the_steps_that_help_texts_tell_are_those_of_the_recipes() -> None:
    for name, recipe in (("train", Recipe()), ("table", SETTINGS["table"].recipe)):
        option = next(one for one in DEFAULTS if one[:2] == (name, "steps"))
        annotation = inspect.signature(CALLBACKS[name]).parameters["steps"].annotation
        assert option[2] == 0
        assert f"{recipe.steps}." in annotation.__metadata__[0].help


@pytest.mark.parametrize("name", CALLBACKS)
def test_the_body_of_a_command_is_short(name: str) -> None:
    (function,) = ast.parse(inspect.getsource(CALLBACKS[name])[inspect.getsource(CALLBACKS[name]).index("def ") :]).body
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function)
    body = function.body[1:]
    last = body[-1].end_lineno
    assert last is not None
    assert last - body[0].lineno + 1 <= 25


IN_OPTIONS = [
    ("Nothing is quoted here.", "Nothing is quoted here."),
    ("`count` is at least 1, got 0.", "--count is at least 1, got 0."),
    ("keeps `max_weight_bytes=12,000`:", "keeps --max-weight-bytes 12,000:"),
    ("give `bits='w4a4'`, or `bits='fp32'`.", "give --bits w4a4, or --bits fp32."),
    ("give `minutes` or `steps` above 0", "give --minutes or --steps above 0"),
    ("`max_latency=-0.5`", "--max-latency -0.5"),
    ("`qnas.search(target='cortex-m4', minutes=10)`", "qnas search --for cortex-m4 --minutes 10"),
    ("`mixed=True`, `card=True`, `table`", "--mixed, --card, --table"),
    ("write one with `qnas.sample(count=1)`.", "write one with qnas sample --count 1."),
    ("train one with `qnas.fit_ghn()`", "train one with qnas fit-ghn"),
    (
        "`qnas.fit_ghn(data='NAME', out='FOLDER')`, and give `ghn='FOLDER'`.",
        "qnas fit-ghn --data NAME --out FOLDER, and give --ghn FOLDER.",
    ),
    ("`qnas.fit_ghn(data='a folder', steps=3)`", "qnas fit-ghn --data 'a folder' --steps 3"),
    ("`qnas.fit_ghn(data='a, b=c', resume=True)`", "qnas fit-ghn --data 'a, b=c' --resume"),
    ("`qnas.fit_ghn(data='a`b')`, or `ghn='a`b'`", "qnas.fit_ghn(data='ab'), or ghn='ab'"),
    ("`qnas.evaluate_ghn(card=True)`", "qnas eval-ghn --card"),
    ("`qnas.evaluate_proxy(table='runs/table')`", "qnas eval-proxy --table runs/table"),
    ("`qnas.study_layers('resnet8', bits='w4a4')`", "qnas study layers resnet8 --bits w4a4"),
    ("`qnas.benchmark_table(out='runs/table')`", "qnas study table --out runs/table"),
    ("`qnas.search(data='digits', bits='w4a4')`", "qnas search --data digits --bits w4a4"),
    ("`qnas.export(run)`", "qnas export RUN"),
    ("`qnas.export('runs/mine', pick=2)`", "qnas export runs/mine --pick 2"),
    ("`qnas.show(what)` or `qnas.show()`", "qnas show WHAT or qnas show"),
    ("`qnas.show('a run')`", "qnas show 'a run'"),
]


@pytest.mark.parametrize(("message", "typed"), IN_OPTIONS, ids=[message[:40] for message, _ in IN_OPTIONS])
def test_a_message_is_written_as_it_is_typed(message: str, typed: str) -> None:
    assert in_options(message) == typed


@pytest.mark.parametrize(("name", "verb"), VERBS.items())
def test_every_verb_has_its_command(name: str, verb: str) -> None:
    called = COMMANDS.get(verb, verb.replace("_", "-"))
    assert in_options(f"`qnas.{verb}()`") == f"qnas {called}"
    assert called in COMMAND_WORDS
    assert called.split()[-1] == name.replace("_", "-")


PLACEHOLDERS = {
    "{name}": ("networks", "seeds", "trials", "top", "steps", "minutes"),
    "{name}={value}": tuple(f"max_{item.name}" for item in fields(Limits)),
    "{name}=1e7": tuple(f"max_{item.name}" for item in fields(Limits)),
    "max_{name}={asked[name]}": ("max_weight_bytes={asked}", "max_activation_bytes={asked}", "max_flash", "max_ram"),
    "max_{cost}": ("max_weight_bytes", "max_activation_bytes", "max_flash", "max_ram"),
    "max_%s": ("max_params", "max_macs"),
    "max_{name}={value}": tuple(f"max_{item.name}" for item in fields(Limits)),
    "max_{name}={limit:,}": tuple(f"max_{item.name}" for item in fields(Limits)),
    "max_{name}={given[name]:,}": tuple(f"max_{item.name}" for item in fields(Limits)),
    "max_{name}={_least(left, name):,}": tuple(f"max_{item.name}" for item in fields(Limits)),
    "{name}={near}": tuple(f"max_{item.name}" for item in fields(Limits)),
}
"""What stands for the parts of messages that are put in. Recipes check more than their steps, but those names are keys
of a file where the command line is concerned, and are not quoted then."""
NOT_TYPED = {"qnas.load(what)", "pip install 'qnas[{profile.name}]'"}
"""Verbs without a command, and commands that are not ours."""


def quoted() -> Iterator[tuple[str, str]]:
    """The file and the code of everything between single backticks in the strings of the package, docstrings aside."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path in (PACKAGE / "cli" / "errors.py", PACKAGE / "cli" / "reference.py"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    part.value if isinstance(part, ast.Constant) else ast.unparse(ast.JoinedStr([part]))[2:-1]
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                text = node.value
            else:
                continue
            if id(node) not in documentation:
                yield from ((path.name, code) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text))


QUOTED = sorted(set(quoted()))


def test_messages_are_found() -> None:
    assert len(QUOTED) > 40
    assert {"qnas.fit_ghn()", "max_{name}={limit:,}", "resume", "qnas.load(what)"} <= {code for _, code in QUOTED}


@pytest.mark.parametrize(("file", "code"), QUOTED, ids=[f"{file} {code}" for file, code in QUOTED])
def test_what_a_message_quotes_can_be_typed(file: str, code: str) -> None:
    if code in NOT_TYPED:
        return
    for one in PLACEHOLDERS.get(code, (code,)):
        typed = in_options("`" + re.sub(r"\{[^}]*!r\}", "'NAME'", one) + "`")
        if one.startswith("qnas."):
            (command,) = (name for name in COMMAND_WORDS if f"{typed} ".startswith(f"qnas {name} "))
            words = re.findall(r"(?<= )--[\w-]+|(?<= )[A-Z]+\b(?= |$)", typed.removeprefix(f"qnas {command}"))
            assert set(words) - {"NAME", "FOLDER"} <= COMMAND_WORDS[command]
        else:
            option = typed.split()[0]
            assert option.startswith("--")
            assert option in set().union(*COMMAND_WORDS.values())
