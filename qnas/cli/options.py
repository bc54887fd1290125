"""Options that several commands have."""

from typing import Annotated

import typer

Target = Annotated[
    str, typer.Option("--for", help="Device profile: cortex-m4, fpga-finn, cpu-onnxruntime, or a .toml file.")
]
Grid = Annotated[
    str, typer.Option(help="Grid: per-channel, per-tensor, asymmetric or power-of-two. Default: per-channel.")
]
