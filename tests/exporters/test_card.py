"""What a winner's folder says to a stranger: its program prepares files as training did, its card is true Markdown."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from PIL import Image

import qnas
from qnas.data.images import DataSet
from qnas.data.pixels import read_images
from qnas.data.registry import find_data
from qnas.exporters.card import call_of, card, guides, program
from qnas.exporters.manifest import read_manifest, take_back
from qnas.exporters.registry import PROFILES, input_of
from qnas.exporters.winner import images_of, write_winner
from qnas.network.deployed import deploy
from qnas.network.module import Network
from qnas.quant.scheme import Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.qat import train_network
from qnas.training.recipe import Recipe

SMALL = Genotype(3, 1, 8, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "skip", 1)),), Bits(4, 4))
FACTS: dict[str, Any] = {"settings": {"bits": "w4a4"}, "accuracy": {"test": 75.0}}
NAMES = ("cat|dog", "<b>*_`", "é 猫")
SIZE = (10, 12)
TURNED = 6


def photos(folder: Path, mode: str) -> list[Path]:
    """Three classes of odd sizes: turned by EXIF, with alpha, large JPEGs, GIFs, 16 bits."""
    rng, files = np.random.default_rng(0), []
    kinds: list[tuple[str, str]] = [("png", mode), ("jpg", mode), ("png", mode + "A"), ("gif", "P"), ("png", "I;16")]
    kinds = [kind for kind in kinds if mode == "RGB" or kind[1] != "P"]
    for place, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            ending, kind = kinds[number % len(kinds)]
            width, height = (301, 223) if number == 1 else (int(side) for side in rng.integers(9, 40, 2))
            shade = np.zeros((height, width, 4), np.float64)
            shade[..., place] = np.linspace(0, 200, width)
            shade[..., 3] = np.linspace(40, 255, height)[:, None]
            noisy = Image.fromarray((shade + rng.integers(0, 55, shade.shape)).clip(0, 255).astype(np.uint8), "RGBA")
            if mode == "L":
                noisy = noisy.rotate(90 * place)
            image = noisy.convert("RGB").convert(kind if kind != "I;16" else "L")
            if kind.endswith("A"):
                image.putalpha(noisy.getchannel("A"))
            if kind == "I;16":
                image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
            exif = Image.Exif()
            exif[0x0112] = TURNED if number % 2 else 1
            files.append(folder / name / f"{number}.{ending}")
            image.save(files[-1], **({"exif": exif} if ending != "gif" else {}))
    return files


@pytest.fixture(scope="module", params=["RGB", "L"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Path], DataSet, Network]:
    folder = tmp_path_factory.mktemp("photos") / "photos"
    files = photos(folder, request.param)
    data = find_data(f"{folder}@{SIZE[1]}x{SIZE[0]}")
    return files, data, train_network(SMALL, data, Recipe(40), 0)


def prepare_of(folder: Path) -> Callable[[str], np.ndarray[Any, Any]]:
    """The function of a winner's program that makes an input of a file."""
    space: dict[str, Any] = {"__file__": str(folder / "predict.py")}
    exec((folder / "predict.py").read_text(encoding="utf-8").split("\nsession = ")[0], space)
    prepare: Callable[[str], np.ndarray[Any, Any]] = space["prepared"]
    return prepare


@pytest.mark.export
@pytest.mark.parametrize("uint8_input", [False, True])
@torch.no_grad()
def test_the_program_says_of_files_what_torch_says_of_them(
    trained: tuple[list[Path], DataSet, Network], tmp_path: Path, uint8_input: bool
) -> None:
    files, data, network = trained
    write_winner(tmp_path, SMALL, network, data, FACTS, uint8_input=uint8_input)
    pixels = torch.from_numpy(read_images(files, SIZE))
    x = (pixels.float() - data.train.mean) / data.train.deviation
    prepare = prepare_of(tmp_path)
    found = np.concatenate([prepare(str(path)) for path in files])
    assert np.array_equal(found, pixels.permute(0, 2, 3, 1).numpy() if uint8_input else x.numpy())
    expected = [data.task.names[place] for place in deploy(network)(x).argmax(1)]
    assert len(set(expected)) > 1
    command = [sys.executable, tmp_path / "predict.py", *files]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", env={"PYTHONUTF8": "1"}, check=True)
    rows = [line.split("\t") for line in ended.stdout.splitlines()]
    assert [(row[0], row[1]) for row in rows] == list(zip(map(str, files), expected, strict=True))
    assert all(100 / 3 <= float(row[2].removesuffix(" %")) <= 100 for row in rows)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    ended = subprocess.run([sys.executable, tmp_path / "predict.py", broken], capture_output=True, encoding="utf-8")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{broken} cannot be read as an image: ")


@pytest.fixture(scope="module")
def network(digits_data: DataSet) -> Network:
    return train_network(SMALL, digits_data, Recipe(3), 0)


@pytest.mark.export
def test_digits_saved_as_files_become_their_sixteen_shades_again(
    network: Network, digits_data: DataSet, tmp_path: Path
) -> None:
    write_winner(tmp_path, SMALL, network, digits_data, FACTS)
    prepare, (x, _) = prepare_of(tmp_path), digits_data.test.batch(slice(0, 20))
    for pixels, wanted in zip(digits_data.test.pixels[:20], x, strict=True):
        Image.fromarray((pixels[0].numpy() * (255 / 16)).round().astype(np.uint8)).save(tmp_path / "digit.png")
        assert np.array_equal(prepare(str(tmp_path / "digit.png"))[0], wanted.numpy())


def manifest_of(data: DataSet, profile: str = "compact", /, **settings: Any) -> dict[str, Any]:
    """What a card is written from."""
    row, recall = PROFILES[profile], [90.0, *[None] * (data.task.classes - 1)]
    parity = {"torch_top1": 80.0, "same_class": 100.0, "images": len(data.validation), "runtime": "onnxruntime"}
    return {
        "facts": {"settings": {"bits": "w4a4", **settings}, "accuracy": {"test": 75.0}},
        "costs": {"params": 1234, "macs": 5678, "weight_bytes": 910, "activation_bytes": 11, "instructions": 12.34},
        "parity": parity, "validation": {"recall": recall, "balanced": 70.0, "majority": 40.0},
        "images": images_of(data, row.pixels), "profile": profile, "model": row.file, "model_bytes": 1000,
        "versions": {"qnas": "0"},
    }  # fmt: skip


def words(markdown: str) -> str:
    """The text of Markdown with tables, as its reader sees it."""
    tokens = [
        child for token in MarkdownIt("commonmark").enable("table").parse(markdown) for child in token.children or []
    ]
    return "\n".join(token.content for token in tokens)


def test_a_card_has_a_head_for_the_hub_and_every_name_as_it_stands(tmp_path: Path) -> None:
    photos(tmp_path / "my *photos*", "RGB")
    data = find_data(f"{tmp_path / 'my *photos*'}@12x10")
    text = card(manifest_of(data), predict=True)
    _, head, body = text.split("---\n", 2)
    told = yaml.safe_load(head)
    assert "license" not in told
    assert {"image-classification", "quantization", "w4a4"} <= set(told["tags"])
    (result,) = told["model-index"][0]["results"]
    assert result["dataset"]["name"] == "my *photos*"
    assert [(one["type"], one["value"]) for one in result["metrics"]] == [("accuracy", 0.75), ("accuracy", 0.8)]
    found = words(body)
    assert [name for name in (*NAMES, "my *photos*") if name not in found] == []
    assert "licence of the data is not known" in found
    assert "10 x 12 pixels (height x width)" in found
    tables = MarkdownIt("commonmark").enable("table").parse(body)
    rows = sum(token.type == "tr_open" for token in tables)
    assert rows == sum(line.startswith("|") for line in body.splitlines()) - 3  # the lines under three heads


def test_the_card_of_known_data_has_their_licence(digits_data: DataSet) -> None:
    head = card(manifest_of(digits_data), predict=True).split("---\n")[1]
    assert yaml.safe_load(head)["license"] == "cc-by-4.0"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_program_lies_where_onnxruntime_runs_the_model(digits_data: DataSet, profile: str) -> None:
    found = guides(manifest_of(digits_data, profile))
    onnx = PROFILES[profile].file == "model.onnx"
    assert set(found) == ({"README.md", "predict.py"} if onnx else {"README.md"})
    assert (b"python predict.py" in found["README.md"]) == onnx
    assert PROFILES[profile].needs.encode() in found["README.md"]


def test_the_program_is_short_and_needs_three_packages_alone() -> None:
    text = program()
    assert set(re.findall(r"^(?:import|from) (\w+)", text, re.M)) - sys.stdlib_module_names == {
        "numpy", "onnxruntime", "PIL",
    }  # fmt: skip
    assert len(text.splitlines()) <= 70


TRAINED = {"seed": 3, "data": "/home/me/photos@12", "ghn": "", "threads": 1, "steps": 24, "minutes": 0.0, "epochs": 0.0}


@pytest.mark.parametrize(
    ("settings", "verb", "expected"),
    [
        ({**TRAINED, "network": {"network": "resnet8", "width": 4, "bits": "w4a4"}}, qnas.train, {"ghn": None}),
        ({**TRAINED, "network": {"stem": [3, 1]}, "epochs": 2.5, "ghn": "digits"}, qnas.train, {"epochs": 2.5}),
        ({**TRAINED, "limits": {"params": 9, "macs": 0}, "pareto": ["params"]}, qnas.search, {"max_params": 9}),
    ],
)
def test_a_card_says_the_call_that_made_it(
    settings: dict[str, Any], verb: Callable[..., Any], expected: dict[str, Any], digits_data: DataSet
) -> None:
    text = card(manifest_of(digits_data, **settings), predict=True)
    call = next(line for line in text.splitlines() if line.startswith(f"qnas.{verb.__name__}("))

    def bound(*arguments: Any, **named: Any) -> dict[str, Any]:
        return inspect.signature(verb).bind(*arguments, **named).arguments

    given = eval(call, {"qnas": type("qnas", (), {verb.__name__: staticmethod(bound)})})
    assert (given["data"], given["image"]) == ("photos", "12x12")
    assert given["seed"] == 3
    assert {key: given[key] for key in expected} == expected
    assert ("steps" in given) == ("epochs" not in expected)


def test_a_network_that_went_on_from_another_has_no_call() -> None:
    assert call_of({**TRAINED, "bits": "w4a4", "network": {"network": "resnet8"}, "start": "0" * 64}) == ""


@pytest.mark.export
def test_the_commands_of_a_card_run(
    network: Network, digits_data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_winner(tmp_path, SMALL, network, digits_data, FACTS)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    install, predict = commands.splitlines()
    assert install == "python -m pip install numpy pillow onnxruntime"
    Image.new("RGB", (31, 17), "white").save(tmp_path / "photo.jpg")
    command = [sys.executable, *predict.split()[1:]]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"photo\.jpg\t\d\t[\d.]+ %\n", ended.stdout)
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)[0], space)
    assert isinstance(space["winner"], qnas.Winner)


@pytest.mark.export
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_commands_of_a_card_of_c_run(network: Network, digits_data: DataSet, tmp_path: Path) -> None:
    write_winner(tmp_path, SMALL, network, digits_data, FACTS, "c")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    images = digits_data.test.first(8)
    (tmp_path / "images.raw").write_bytes(images.pixels.permute(0, 2, 3, 1).numpy().tobytes())
    ended = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    with torch.no_grad():
        expected = deploy(network)(images.batch(slice(None))[0]).argmax(1).tolist()
    assert [int(line.split()[0]) for line in ended.stdout.splitlines()] == expected


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.export
def test_a_folder_holds_what_its_manifest_names_whatever_it_held_before(
    network: Network, digits_data: DataSet, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for profile in ("compact", "c", "opset13"):
        write_winner(tmp_path, SMALL, network, digits_data, FACTS, profile)
        manifest = read_manifest(tmp_path)
        assert left(tmp_path) == {"notes.txt", "manifest.json", *manifest["sha256"], *manifest["guides"]}
        assert {"README.md", PROFILES[profile].file} < left(tmp_path)
    (tmp_path / "README.md").write_text("changed by hand", encoding="utf-8")
    assert read_manifest(tmp_path)["profile"] == "opset13"


@pytest.mark.export
def test_a_kill_in_an_export_leaves_a_winner_that_can_be_read(
    network: Network, digits_data: DataSet, tmp_path: Path
) -> None:
    write_winner(tmp_path, SMALL, network, digits_data, FACTS)
    take_back(tmp_path)
    assert left(tmp_path) == {"manifest.json", "genotype.json", "network.safetensors"}
    assert isinstance(qnas.load(tmp_path), qnas.Winner)


def test_files_elsewhere_are_never_taken_back(tmp_path: Path, digits_data: DataSet) -> None:
    (tmp_path / "kept.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "winner").mkdir()
    told = {**manifest_of(digits_data), "sha256": {}, "guides": ["../kept.txt"], "versions": {}}
    told["parity"] |= {"onnxruntime_top1": 80.0}
    (tmp_path / "winner" / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    take_back(tmp_path / "winner")
    assert (tmp_path / "kept.txt").exists()


@pytest.mark.export
@pytest.mark.parametrize("profile", [name for name, row in PROFILES.items() if row.file == "model.onnx"])
@pytest.mark.parametrize("uint8_input", [False, True])
def test_a_model_says_what_it_takes_and_what_it_is(
    network: Network, digits_data: DataSet, profile: str, uint8_input: bool
) -> None:
    model = PROFILES[profile].write(deploy(network), digits_data.task, uint8_input)["model.onnx"]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (taken,), told = session.get_inputs(), session.get_modelmeta().custom_metadata_map
    assert (taken.type, taken.shape[1:]) == (
        ("tensor(uint8)", [8, 8, 1]) if uint8_input else ("tensor(float)", [1, 8, 8])
    )
    images = json.loads(told["images"])
    assert json.loads(told["classes"]) == [str(digit) for digit in range(10)]
    assert (images["input"], images["highest"], images["mode"]) == (input_of(uint8_input), 16, "L")
    assert tuple(images["mean"]) == digits_data.task.mean
    assert json.loads(told["grids"])["weights"] == ["4 bits, symmetric, a step a channel"]
