"""What a run has noted on its way, as a table in CSV or as scalars for TensorBoard."""

import csv
from collections.abc import Iterable
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from qnas.errors import QnasError, check_known
from qnas.nas.result import RESULT, known, networks_of, read_result
from qnas.runs.files import read_rows, write_bytes
from qnas.runs.reading import reading
from qnas.training.metrics import METRICS

KINDS = ("csv", "tensorboard")
FOLDER, OWN = "tensorboard", ".qnas"
"""Where scalars lie in a run's folder, and with what the names of their files end."""
Rows = list[dict[str, Any]]


def write_logs(run: Path, to: str, out: Path | None = None) -> Path:
    """Write what a run has noted: of training, its metrics by step; of a finished search, its networks by number.

    Args:
        run: its folder.
        to: one of ``KINDS``.
        out: the file, or for TensorBoard the folder, to write; in the run's folder if none is given.

    Returns:
        What was written.

    Raises:
        QnasError: no such kind, nothing noted, a damaged file, or TensorBoard's package is missing.
    """
    check_known("kind of logs", to, KINDS)
    name, rows = _noted(run)
    if to == "csv":
        path = out or run / f"{name}.csv"
        write_bytes(path, _as_csv(rows).encode())
        return path
    folder = out or run / FOLDER
    _write_scalars(folder, name, rows)
    return folder


def _noted(run: Path) -> tuple[str, Rows]:
    if (run / METRICS).is_file():
        with reading(run / METRICS, "training metrics", "train again in another folder"):
            if rows := read_rows(run / METRICS):
                return "metrics", rows
        raise QnasError(f"{run} has noted nothing yet: metrics come every few steps; wait for them, or train for more.")
    if (run / RESULT).is_file():
        return "networks", [{"number": one.get("number", 0), **known(one)} for one in networks_of(read_result(run))]
    raise QnasError(
        f"Logs are of a training run or a finished search, and {run} holds neither {METRICS} nor {RESULT}; name such a "
        "run's folder."
    )


def _as_csv(rows: Rows) -> str:
    text = StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _write_scalars(folder: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Numbers by their names, against the step or the number of a network, in the place of those written before."""
    try:
        writer_of = import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise QnasError(
            f"`to='tensorboard'` is written by the package tensorboard, which cannot be imported ({error}); install it "
            "with: python -m pip install 'qnas[tensorboard]', or take `to='csv'`."
        ) from error
    for old in folder.glob(f"events.out.tfevents.*{OWN}"):
        old.unlink()
    with writer_of(str(folder), filename_suffix=OWN) as writer:
        for row in rows:
            place, *others = row.items()
            for key, value in others:
                if isinstance(value, int | float):
                    writer.add_scalar(f"{name}/{key}", value, place[1])
