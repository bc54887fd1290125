"""Errors in the command line's words: the library speaks of arguments and calls, the user of options and commands."""

import ast
import re
import shlex

POSITIONAL = {"run": "RUN", "what": "WHAT", "network": "NETWORK"}
COMMANDS = {
    "benchmark_table": "study table",
    "evaluate_ghn": "eval-ghn",
    "evaluate_proxy": "eval-proxy",
    "study_init": "study init",
    "study_layers": "study layers",
    "survey": "data",
}
"""Commands that are not called like their verbs."""
OPTIONS = {"target": "for"}
"""Options that are not called like their arguments."""


def in_options(message: str) -> str:
    """A message whose code, between backticks, is written as it is typed in a shell.

    `max_params` becomes --max-params, `bits='w4a4'` --bits w4a4, `qnas.fit_ghn(data='x')` qnas fit-ghn --data x, and
    `qnas.show('a run')` qnas show 'a run'.
    """
    return re.sub(r"`([^`]*)`", lambda match: _typed(match[1]), message)


def _typed(code: str) -> str:
    verb = re.match(r"qnas\.(\w+)\(", code)
    if verb is None:
        return _option(code) if re.fullmatch(r"\w+(=.*)?", code) else code
    command = COMMANDS.get(verb[1], verb[1].replace("_", "-"))
    try:
        call = ast.parse(code, mode="eval").body
    except SyntaxError:  # cut off by a quotation mark in a name
        return code
    parts = [*call.args, *call.keywords] if isinstance(call, ast.Call) else []
    return " ".join(["qnas", command, *(_option(ast.unparse(part)) for part in parts)])


def _option(argument: str) -> str:
    if argument[:1] in "'\"":
        return _text(argument)
    name, _, value = argument.partition("=")
    if name in POSITIONAL:
        return POSITIONAL[name]
    option = "--" + OPTIONS.get(name, name).replace("_", "-")
    return option if value in ("", "True") else f"{option} {_text(value)}"


def _text(value: str) -> str:
    try:
        return shlex.quote(ast.literal_eval(value)) if value[:1] in "'\"" else value
    except SyntaxError:
        return value
