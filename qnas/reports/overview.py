"""Shows anything that has a name or a path: runs, winners, genotypes, spaces, devices, checkpoints."""

from dataclasses import asdict
from difflib import get_close_matches
from os.path import isfile  # which holds what may not be read for no file
from pathlib import Path
from typing import Any

from rich.table import Table

from qnas.checkpoints.store import WEIGHTS, checkpoint_names, find_checkpoint, read_card
from qnas.data.registry import SOURCES, arguments
from qnas.errors import QnasError
from qnas.exporters.device_profiles import DeviceProfile, device_names, find_device
from qnas.exporters.manifest import MANIFEST, model_bytes, read_manifest
from qnas.nas.result import RESULT
from qnas.network.build import architecture_from_json, build_plan
from qnas.network.memory import costs_in_c
from qnas.reports.search import COUNTED, Typed, print_classes, print_result, use_line
from qnas.reports.tables import show
from qnas.runs.folder import RUN, read_run
from qnas.runs.reading import read_json
from qnas.space.space import SearchSpace, find_space, space_names
from qnas.task import Task

KINDS = {RESULT: "run", MANIFEST: "network", RUN: "unfinished run", WEIGHTS: "checkpoint"}
"""What a folder is, by the first of these files that it holds."""


def show_anything(what: str, typed: Typed = str) -> None:
    """Find out what ``what`` names and print it, and what to do next.

    Args:
        what: path or name.
        typed: writes a call between backticks as its reader types it.

    Raises:
        QnasError: it names nothing that can be shown.
    """
    path = Path(what)
    try:
        path.exists()
    except OSError as error:  # a name that no file can have
        raise _nothing(what) from error
    if not what:
        show(_everything(typed))
    elif (path / RESULT).is_file():
        print_result(path, as_json=False, typed=typed)
    elif (path / MANIFEST).is_file():
        _show_winner(path)
    elif (path / RUN).is_file():
        settings = read_run(path)["settings"]
        if isinstance(limits := settings.get("limits"), dict):
            settings["limits"] = {name: limit or "no limit" for name, limit in limits.items()}
        show(_facts(f"unfinished run {path}", settings))
        print("Next: the command that began it, which continues it.")
    elif path.is_file() and path.suffix == ".json":
        _show_genotype(path, typed)
    elif what in device_names():
        _show_device(find_device(what), typed)
    elif what in space_names() or what.endswith(".toml"):
        _show_space(find_space(what), typed)
    elif what in checkpoint_names() or (path / WEIGHTS).is_file():
        _show_checkpoint(what, typed)
    else:
        raise _nothing(what)


def _nothing(what: str) -> QnasError:
    close = get_close_matches(what[:80], [*space_names(), *checkpoint_names(), *device_names()], n=1)
    remedy = f"did you mean {close[0]!r}?" if close else "see what there is with `qnas.show()`."
    return QnasError(
        f"`qnas.show(what)` takes a run folder, a winner, a genotype file, a space, a device or a checkpoint, "
        f"{what[:80]!r} is none; {remedy}"
    )


def _everything(typed: Typed) -> Table:
    table = Table("kind", "name", "next")
    for name in space_names():
        table.add_row("space", name, typed(f"`qnas.show({name!r})`"))
    for name in checkpoint_names():
        there = name in SOURCES and SOURCES[name].place is not None
        call = f"`qnas.search(data={name!r}, bits='w4a4')`" if there else f"`qnas.show({name!r})`"
        table.add_row("checkpoint", name, typed(call))
    for name in device_names():
        table.add_row("device", name, typed(f"`qnas.search(target={name!r}, minutes=10)`"))
    for folder in [Path(), *sorted(Path().glob("*")), *sorted(Path("runs").glob("*"))]:
        kind = next((kind for file, kind in KINDS.items() if isfile(folder / file)), "")
        if kind:
            table.add_row(kind, str(folder), typed(f"`qnas.show({str(folder)!r})`"))
    return table


def _facts(title: str, facts: dict[str, Any]) -> Table:
    table = Table("", "", title=title, show_header=False)
    for key, value in facts.items():
        if _is_said(value):
            table.add_row(key, _text(value))
    return table


def _is_said(value: Any) -> bool:
    return value is not None and value not in ("", {}, [], ())


def _text(value: Any) -> str:
    """A value for people; lists within lists are told apart by what stands between their items."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items() if _is_said(item))
    if isinstance(value, list | tuple):
        texts = [_text(item) for item in value]
        between = (
            " | " if any("; " in text for text in texts) else "; " if any(", " in text for text in texts) else ", "
        )
        return between.join(texts)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if type(value) is int:
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show_winner(folder: Path) -> None:
    manifest = read_manifest(folder)
    accuracy = manifest["facts"]["accuracy"]
    trained = accuracy.get("trained")
    if isinstance(trained, dict):
        trained = ", ".join(f"{_text(top1)} after {steps} steps" for steps, top1 in trained.items())
    spent = _counted(manifest["costs"])
    facts = {"bits": manifest["facts"]["settings"]["bits"], **spent, "model_bytes": model_bytes(manifest)}
    show(
        _facts(
            f"winner {folder}",
            {**facts, **accuracy, "trained": trained, "parity": manifest["parity"], "versions": manifest["versions"]},
        )
    )
    print_classes(manifest)
    print(use_line(folder, manifest))


def _counted(spent: dict[str, Any]) -> dict[str, Any]:
    """Costs but for those that nobody counted."""
    return {COUNTED.get(name, name): value for name, value in spent.items() if value or name not in COUNTED}


def _show_genotype(path: Path, typed: Typed) -> None:
    genotype = architecture_from_json(read_json(path, "a genotype", "write one with `qnas.sample(count=1)`"))
    spent = _counted(asdict(costs_in_c(build_plan(genotype, Task((3, 32, 32), 10)))))
    show(
        _facts(
            f"network {genotype.key}",
            {**genotype.to_json(), **spent, "counted for": "3 x 32 x 32, 10 classes"},
        )
    )
    print(typed(f"Next: `qnas.train({str(path)!r}, minutes=10)`"))


def _show_space(space: SearchSpace, typed: Typed) -> None:
    show(
        _facts(
            f"space {space.name}", {key: value for key, value in asdict(space).items() if key not in ("name", "split")}
        )
    )
    print(typed(f"Next: `qnas.sample(space={space.name!r}, count=5)`"))


def _show_device(device: DeviceProfile, typed: Typed) -> None:
    facts = {key: ", ".join(value) if isinstance(value, tuple) else value for key, value in asdict(device).items()}
    budgets = {f"max_{name}": most for name, most in device.budgets.items()}
    told = {key: value for key, value in {**facts, **budgets}.items() if value and key != "name"}
    show(_facts(f"device {device.name}", told))
    print(typed(f"Next: `qnas.search(target={device.name!r}, minutes=10)`"))


def _show_checkpoint(name: str, typed: Typed) -> None:
    folder = find_checkpoint(name)
    card = read_card(folder)
    table = card.pop("table", None)
    data = card.get("place") or card.get("settings", {}).get("data", folder.name)
    search = f"`qnas.search({arguments(data)}, ghn={name!r})`"
    show(_facts(f"checkpoint {folder.name}", {"bytes": (folder / WEIGHTS).stat().st_size, **card}))
    if table:
        rows = Table("split", "bits", "n", "top-1 %", title=f"{table['data']}, {table['part']} images, no training")
        for row in table["rows"]:
            rows.add_row(row["split"], row["bits"], str(row["n"]), f"{row['top1_mean']:.1f} ± {row['top1_sem']:.1f}")
        show(rows)
    print(typed(f"Next: `qnas.evaluate_ghn({arguments(data)}, ghn={name!r}, networks=20)`; {search}"))
