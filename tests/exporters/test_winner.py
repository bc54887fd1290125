"""A written winner: its files, its manifest's hashes and figures, and a folder that was changed afterwards."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

import qnas
from qnas.data.batches import evaluation_batches
from qnas.data.images import DataSet, Images
from qnas.errors import QnasError
from qnas.exporters.device_profiles import DeviceProfile
from qnas.exporters.manifest import read_manifest
from qnas.exporters.parity import Parity, held_against
from qnas.exporters.registry import PROFILES
from qnas.exporters.winner import own_folder, write_winner
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.deployed import DeployedNetwork
from qnas.network.module import Network
from qnas.quant.scheme import Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe

SMALL = Genotype(3, 1, 8, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "skip", 1)),), Bits(4, 4))
HASHED = ["genotype.json", "model.onnx", "network.safetensors"]
FILES = ["README.md", *HASHED[:1], "manifest.json", *HASHED[1:], "network.svg", "predict.py"]
FACTS: dict[str, Any] = {"settings": {"bits": "w4a4"}, "accuracy": {"test": 12.5}}


@pytest.fixture(scope="module")
def network(digits_data: DataSet) -> Network:
    return train_network(SMALL, digits_data, Recipe(3), 0)


@pytest.fixture(scope="module")
def winner(tmp_path_factory: pytest.TempPathFactory, network: Network, digits_data: DataSet) -> Path:
    """A folder that nothing changes."""
    folder = tmp_path_factory.mktemp("winner")
    write_winner(folder, SMALL, network, digits_data, FACTS)
    return folder


@pytest.fixture
def changeable(tmp_path: Path, winner: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_bytes((winner / name).read_bytes())
    return tmp_path


@pytest.mark.export
def test_the_folder_holds_all_files_and_no_others(winner: Path) -> None:
    assert sorted(path.name for path in winner.iterdir()) == FILES


@pytest.mark.export
def test_the_manifest_states_the_hash_of_all_but_the_guides(winner: Path) -> None:
    hashes = json.loads((winner / "manifest.json").read_text(encoding="utf-8"))["sha256"]
    assert hashes == {name: hashlib.sha256((winner / name).read_bytes()).hexdigest() for name in HASHED}


@pytest.mark.export
def test_the_manifest_states_costs_sizes_facts_and_classes(winner: Path, digits_data: DataSet) -> None:
    manifest = read_manifest(winner)
    spent = costs(build_plan(SMALL, digits_data.task))
    assert manifest["costs"]["params"] == spent.params
    assert manifest["costs"]["weight_bytes"] == spent.weight_bytes
    assert manifest["onnx_bytes"] == (winner / "model.onnx").stat().st_size
    assert manifest["facts"] == FACTS
    assert manifest["images"]["classes"] == [str(digit) for digit in range(10)]
    assert manifest["images"]["shape"] == [1, 8, 8]


@pytest.mark.export
def test_the_parity_is_that_of_the_validation_images(winner: Path, network: Network, digits_data: DataSet) -> None:
    parity = read_manifest(winner)["parity"]
    assert parity["images"] == 360
    assert parity["torch_top1"] == pytest.approx(deployed_accuracy(network, digits_data.validation).top1, abs=0.3)
    assert parity["onnxruntime_version"] == onnxruntime.__version__


@pytest.mark.export
def test_the_manifest_is_all_one_needs_to_run_the_model(winner: Path, network: Network, digits_data: DataSet) -> None:
    prepare = read_manifest(winner)["images"]
    mean, deviation = (torch.tensor(prepare[key]).view(1, -1, 1, 1) for key in ("mean", "deviation"))
    images = ((digits_data.test.pixels.float() - mean) / deviation).numpy()
    session = onnxruntime.InferenceSession(winner / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images})
    right = 100 * (logits.argmax(1) == digits_data.test.labels.numpy()).mean()
    assert right == pytest.approx(deployed_accuracy(network, digits_data.test).top1, abs=0.6)


@pytest.mark.export
def test_genotype_weights_and_model_can_be_read_back(winner: Path, network: Network) -> None:
    genotype = Genotype.from_json(json.loads((winner / "genotype.json").read_text(encoding="utf-8")))
    assert genotype == SMALL
    state = load_file(winner / "network.safetensors")
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    onnx.checker.check_model(onnx.load(winner / "model.onnx"), full_check=True)


@pytest.mark.export
@pytest.mark.parametrize("name", ["genotype.json", "model.onnx", "network.safetensors"])
def test_a_changed_file_is_reported(changeable: Path, name: str) -> None:
    content = (changeable / name).read_bytes()
    (changeable / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    with pytest.raises(QnasError, match=rf"hash to what manifest.json says, but {name} in .* changed; export again"):
        read_manifest(changeable)


@pytest.mark.export
def test_a_missing_file_is_reported(changeable: Path) -> None:
    (changeable / "model.onnx").unlink()
    with pytest.raises(QnasError, match=r"model\.onnx in .* is missing; export again"):
        read_manifest(changeable)


@pytest.mark.export
def test_an_untouched_copy_is_accepted(changeable: Path) -> None:
    assert read_manifest(changeable)["facts"] == FACTS


def test_what_a_device_does_not_hold_is_not_written(tmp_path: Path, network: Network, digits_data: DataSet) -> None:
    device = DeviceProfile("small", "a small one", "c", flash=1000)
    with pytest.raises(QnasError, match=r"small has 1,000 bytes of flash .* too many"):
        write_winner(tmp_path / "out", SMALL, network, digits_data, FACTS, "c", device)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX files of networks that turn every logit around."""

    def compare(files: dict[str, bytes], deployed: DeployedNetwork, images: Images) -> Parity:
        logits = torch.cat([deployed(x) for x, _ in evaluation_batches(images, 100)])
        return held_against(deployed, images, -logits.numpy(), "onnxruntime", "0")

    monkeypatch.setitem(PROFILES, "compact", replace(PROFILES["compact"], compare=compare))


@pytest.mark.usefixtures("wrong")
def test_what_is_not_the_trained_network_is_not_written(tmp_path: Path, network: Network, digits_data: DataSet) -> None:
    with pytest.raises(
        QnasError, match=r"as compact onnxruntime gives torch's class for only .*`profile='safetensors'`"
    ):
        write_winner(tmp_path / "out", SMALL, network, digits_data, FACTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("wrong")
def test_what_a_run_trained_is_written_as_integers_then(
    tmp_path: Path, network: Network, digits_data: DataSet, caplog: pytest.LogCaptureFixture
) -> None:
    parity = write_winner(tmp_path, SMALL, network, digits_data, FACTS, or_plain=True)
    assert not parity.failure
    manifest = read_manifest(tmp_path)
    assert (manifest["profile"], manifest["model"]) == ("safetensors", "model.safetensors")
    assert manifest["failed"].startswith("as compact onnxruntime gives torch's class for only ")
    assert "Exported as safetensors instead: as compact" in caplog.text
    assert not (tmp_path / "model.onnx").exists()


def test_an_unknown_profile_is_refused_and_nothing_written(
    tmp_path: Path, network: Network, digits_data: DataSet
) -> None:
    with pytest.raises(QnasError, match=r"No export `profile` is called 'tiny'; choose from: .*compact"):
        write_winner(tmp_path / "out", SMALL, network, digits_data, FACTS, "tiny")
    assert list(tmp_path.iterdir()) == []


def test_an_export_in_another_way_has_a_folder_within(tmp_path: Path) -> None:
    assert own_folder(tmp_path, "compact", "compact", uint8_input=False) == tmp_path
    assert own_folder(tmp_path, "c", "compact", uint8_input=False) == tmp_path / "c"
    assert own_folder(Path(), "opset13", "compact", uint8_input=True) == Path("opset13-uint8")


@pytest.mark.export
def test_exports_leave_each_other_alone(tmp_path: Path, network: Network, digits_data: DataSet) -> None:
    """A winner in one container, in another, with pixels, and each of these once more."""
    settings = {"bits": "w4a4", "data": "digits"}
    write_winner(tmp_path, SMALL, network, digits_data, {**FACTS, "settings": settings})
    before = (tmp_path / "model.onnx").read_bytes()
    in_c, pixels = qnas.export(tmp_path, profile="c").folder, qnas.export(tmp_path, uint8_input=True).folder
    assert (in_c, pixels, qnas.export(tmp_path).folder) == (tmp_path / "c", tmp_path / "uint8", tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == before
    assert qnas.export(pixels).folder == pixels
    assert read_manifest(pixels)["images"]["input"]["type"] == "uint8"
    assert qnas.export(in_c, profile="onnx").folder == in_c / "compact"
