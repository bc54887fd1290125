"""The order of the package: every import in every file is held against the list of layers."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qnas

LAYERS = (
    "errors", "digest", "resources", "distributed", "devices", "task", "runs", "quant", "space", "network", "data",
    "work", "sampling", "graph", "ghn", "checkpoints", "scores", "training", "exporters", "nas", "studies", "reports",
    "api", "cli",
)  # fmt: skip
ROOT = Path(qnas.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def layer(path: Path) -> str:
    """The folder, or the file at the top of the package, that a file belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in it, by their dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            from_package = node.module == "qnas"
            names = [f"qnas.{alias.name}" for alias in node.names] if from_package else [node.module or ""]
        else:
            continue
        yield from (name for name in names if name.startswith("qnas.") and name != "qnas.__version__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_earlier_layers_or_its_own(path: Path) -> None:
    own = layer(path)
    if own in ("__init__", "__main__"):
        return
    assert own in LAYERS, f"{own} has no place in the list of layers"
    allowed = LAYERS[: LAYERS.index(own) + 1]
    later = [name for name in imported(path) if name.split(".")[1] not in allowed]
    assert later == []


def test_the_package_itself_imports_nothing_until_a_name_is_used() -> None:
    body = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports == []


def test_no_room_is_called_like_a_verb_of_the_face() -> None:
    rooms = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms & set(qnas.__all__) == set()


@pytest.mark.parametrize(
    "name", ["qnas.space.space", "qnas.sampling.generator", "qnas.network.costs", "qnas.nas.settings"]
)
def test_describing_and_costing_networks_imports_no_torch(name: str) -> None:
    assert not brings(name, "torch")


def test_training_needs_no_library_of_searching() -> None:
    assert not brings(
        "qnas.api.ghn, qnas.api.train, qnas.training.recipe, qnas.cli.main, qnas.reports.figures", "optuna"
    )


@pytest.mark.parametrize("library", ["sklearn", "torch_geometric"])
def test_training_and_looking_at_what_was_found_bring_no_library_of_predicting(library: str) -> None:
    """Each takes a second to import."""
    assert not brings("qnas.api.train, qnas.reports.overview", library)


def brings(name: str, other: str) -> bool:
    """Whether importing one module, or some, imports another."""
    code = f"import sys, {name}; sys.exit({other!r} in sys.modules)"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, check=False).returncode != 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_of_the_command_line_are_known_to_it_alone(path: Path) -> None:
    """Everywhere else errors and remarks speak of arguments."""
    if layer(path) == "cli":
        return
    texts = (
        node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
    )
    assert [text for text in texts if isinstance(text, str) and re.search(r"(?<![\w-])--[a-z]", text)] == []
