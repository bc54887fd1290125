"""The package as a user gets it: an sdist, installed into a fresh environment, run from an empty folder."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEARCH = ["search", "--trials", "2", "--steps", "6", "--top", "1", "--workers", "1", "--data", "digits", "--json"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.export,
    pytest.mark.skipif(find_spec("build") is None, reason="needs the package build"),
]


def files_below(folder: Path) -> set[str]:
    """Paths of the files in a folder, without what Python and a desktop leave there."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if "__pycache__" not in path.parts and not path.name.startswith(".")}


def run(*command: str | Path, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT, folder=folder)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, sdist: Path) -> Path:
    """A fresh environment that borrows the dependencies of this one, with the sdist installed."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, folder=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"], encoding="utf-8")
    run(
        folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", "--ignore-installed", sdist, folder=folder
    )
    return folder


@pytest.fixture(scope="module")
def installed(environment: Path) -> Path:
    """The installed package's folder."""
    (site,) = environment.glob("lib/python*/site-packages")
    return site / "qnas"


def test_the_sdist_holds_the_package_its_data_and_its_tests(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for folder in ("qnas", "search_spaces", "device_profiles", "checkpoints", "tests"):
        assert {f"{folder}/{name}" for name in files_below(ROOT / folder)} <= names
    assert {"README.md", "LICENSE", "pyproject.toml", "constraints.txt"} <= names


def test_two_wheels_of_one_source_are_the_same_to_the_byte(sdist: Path, tmp_path: Path) -> None:
    """From two folders, unpacked at other times."""
    wheels = []
    for place in ("one", "two"):
        with tarfile.open(sdist) as archive:
            archive.extractall(tmp_path / place, filter="data")
        (source,) = (tmp_path / place).iterdir()
        for path in source.rglob("*"):
            os.utime(path, (1_000_000_000 + len(place + path.name),) * 2)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / f"{place}-wheel", source, folder=tmp_path)
        (wheel,) = (tmp_path / f"{place}-wheel").iterdir()
        wheels.append(wheel.read_bytes())
    assert wheels[0] == wheels[1]


def test_all_that_ships_and_is_no_code_has_its_licence_told() -> None:
    told = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    data = [path.relative_to(ROOT).as_posix() for path in (ROOT / "qnas").rglob("*") if path.suffix == ".zip"]
    shipped = [*data, *(f"checkpoints/{path.name}" for path in (ROOT / "checkpoints").iterdir() if path.is_dir())]
    assert len(shipped) >= 4
    assert [name for name in shipped if f"| `{name}` |" not in told] == []


def test_the_installed_package_holds_every_module(installed: Path) -> None:
    endings = (".py", ".html", ".js")
    expected = {name for name in files_below(ROOT / "qnas") if name.endswith(endings)}
    assert {name for name in files_below(installed) if name.endswith(endings)} == expected


@pytest.mark.parametrize("kind", ["search_spaces", "device_profiles", "checkpoints"])
def test_the_installed_package_holds_the_data(installed: Path, kind: str) -> None:
    data = installed / "_data" / kind
    assert files_below(data) == files_below(ROOT / kind)
    some = {
        "search_spaces": "tiny.toml",
        "device_profiles": "cortex-m4.toml",
        "checkpoints": "digits/ghn.safetensors",
    }
    assert some[kind] in files_below(data)
    for name in files_below(data):
        assert (data / name).read_bytes() == (ROOT / kind / name).read_bytes()


def test_nothing_else_is_installed(installed: Path) -> None:
    (record,) = installed.parent.glob("qnas-*.dist-info/RECORD")
    tops = {line.split(",")[0].split("/")[0] for line in record.read_text(encoding="utf-8").splitlines()}
    assert tops == {"qnas", "..", record.parent.name}
    assert [name for name in files_below(installed) if "test" in name] == []


def test_the_installed_package_is_the_one_that_runs(environment: Path, installed: Path, tmp_path: Path) -> None:
    printed = run(environment / "bin" / "python", "-c", "import qnas; print(qnas.__file__)", folder=tmp_path)
    assert Path(printed.strip()).resolve() == (installed / "__init__.py").resolve()


def test_the_program_shows_what_there_is(environment: Path, tmp_path: Path) -> None:
    printed = run(environment / "bin" / "qnas", "show", folder=tmp_path)
    assert all(f" {name} " in printed for name in ("tiny", "mobile", "digits"))
    assert list(tmp_path.iterdir()) == []


def test_the_program_finds_a_network(environment: Path, tmp_path: Path) -> None:
    result = json.loads(run(environment / "bin" / "qnas", *SEARCH, folder=tmp_path))
    (pick,) = result["picks"]
    assert (tmp_path / result["folder"] / "winner" / "model.onnx").is_file()
    assert 0 <= pick["test"] <= 100
    assert result["parity"]["same_class"] >= 99
