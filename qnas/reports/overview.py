"""Shows anything that has a name or a path: runs, winners, genotypes, spaces, checkpoints."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from qnas.checkpoints.store import WEIGHTS, checkpoint_names, find_checkpoint, read_card
from qnas.errors import QnasError
from qnas.exporters.winner import MANIFEST, MODEL, read_manifest
from qnas.nas.picks import WINNER
from qnas.nas.result import RESULT
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.reports.search import print_result
from qnas.reports.tables import show
from qnas.runs.folder import RUN, read_run
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace, find_space, space_names
from qnas.task import Task


def show_anything(what: str) -> None:
    """Find out what ``what`` names and print it.

    Raises:
        QnasError: it names nothing that can be shown.
    """
    path = Path(what)
    try:
        path.exists()
    except OSError as error:  # a name that no file can have
        raise _nothing(what) from error
    if not what:
        show(_everything())
    elif (path / RESULT).is_file():
        print_result(path, as_json=False)
        print(f"Next: qnas show {path / WINNER}, or qnas export {path} --pick 2")
    elif (path / RUN).is_file():
        show(_facts(f"unfinished run {path}", read_run(path)["settings"]))
        print("Next: the command that began it, which continues it.")
    elif (path / MANIFEST).is_file():
        _show_winner(path)
    elif path.is_file() and path.suffix == ".json":
        _show_genotype(path)
    elif what in space_names() or what.endswith(".toml"):
        _show_space(find_space(what))
    elif what in checkpoint_names() or (path / WEIGHTS).is_file():
        _show_checkpoint(what)
    else:
        raise _nothing(what)


def _nothing(what: str) -> QnasError:
    return QnasError(
        f"qnas show takes a run folder, a winner, a genotype file, a space or a checkpoint, {what[:80]!r} is none; "
        "see what there is with: qnas show"
    )


def _everything() -> Table:
    table = Table("kind", "name", "next")
    for name in space_names():
        table.add_row("space", name, f"qnas show {name}")
    for name in checkpoint_names():
        table.add_row("checkpoint", name, f"qnas search --data {name} --bits w4a4")
    for path in sorted(Path("runs").glob(f"*/{RUN}")):
        table.add_row("run", str(path.parent), f"qnas show {path.parent}")
    return table


def _facts(title: str, facts: dict[str, Any]) -> Table:
    table = Table("", "", title=title, show_header=False)
    for key, value in facts.items():
        table.add_row(key, _text(value))
    return table


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "; ".join(_text(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show_winner(folder: Path) -> None:
    manifest = read_manifest(folder)
    accuracy = manifest["facts"]["accuracy"]
    facts = {"bits": manifest["facts"]["settings"]["bits"], **manifest["costs"], "onnx_bytes": manifest["onnx_bytes"]}
    show(
        _facts(
            f"winner {folder}", {**facts, **accuracy, "parity": manifest["parity"], "versions": manifest["versions"]}
        )
    )
    print(f"Next: use {folder / MODEL}; images are prepared as {MANIFEST} says.")


def _show_genotype(path: Path) -> None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise QnasError(
            f"A genotype file is JSON, {path} is not ({error}); write one with: qnas sample --count 1"
        ) from error
    genotype = Genotype.from_json(data)
    plan = build_plan(genotype, Task((3, 32, 32), 10))
    show(
        _facts(
            f"genotype {genotype.key}",
            {**genotype.to_json(), **asdict(costs(plan)), "counted for": "3 x 32 x 32, 10 classes"},
        )
    )
    print("Next: qnas search, which finds and trains such networks.")


def _show_space(space: SearchSpace) -> None:
    show(
        _facts(
            f"space {space.name}", {key: value for key, value in asdict(space).items() if key not in ("name", "split")}
        )
    )
    print(f"Next: qnas sample --space {space.name} --count 5")


def _show_checkpoint(name: str) -> None:
    folder = find_checkpoint(name)
    card = read_card(folder)
    table = card.pop("table", None)
    show(_facts(f"checkpoint {folder.name}", {"bytes": (folder / WEIGHTS).stat().st_size, **card}))
    if table:
        rows = Table("split", "bits", "n", "top-1 %", title=f"{table['data']}, {table['part']} images, no training")
        for row in table["rows"]:
            rows.add_row(row["split"], row["bits"], str(row["n"]), f"{row['top1_mean']:.1f} ± {row['top1_sem']:.1f}")
        show(rows)
    print(f"Next: qnas eval-ghn --ghn {name} --networks 20")
