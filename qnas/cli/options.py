"""Options that several commands have, and how defaults are told."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

import typer

Target = Annotated[
    str, typer.Option("--for", help="Device profile: cortex-m4, fpga-finn, cpu-onnxruntime, or a .toml file.")
]
Grid = Annotated[
    str, typer.Option(help="Grid: per-channel, per-tensor, asymmetric or power-of-two. Default: per-channel.")
]
Image = Annotated[
    str,
    typer.Option(
        help="Pixels of a folder's images: 64, or height x width, such as 48x64. Default: the files' median, up to 64."
    ),
]


def say_in_words(command: Callable[..., Any] | None) -> None:
    """Show no 0 as an option's default where the help says in words what happens by default."""
    for option in inspect.signature(command).parameters.values() if command else ():
        info = get_args(option.annotation)[1]
        if not option.default and ("Default:" in info.help or "instead of" in info.help):
            info.show_default = False
