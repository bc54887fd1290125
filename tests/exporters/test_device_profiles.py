"""Device profiles: the shipped ones name what there is, what they refuse is said, and damaged files are named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qnas.errors import QnasError
from qnas.exporters.device_profiles import DeviceProfile, device_names, find_device
from qnas.exporters.registry import PROFILES
from qnas.network.memory import Memory
from qnas.quant.choices import GRIDS
from qnas.quant.scheme import FP32, Bits

SMALL = DeviceProfile(
    "small", "a small one", "c", flash=1000, code=200, ram=500, stack=100, bits=("w8a8", "w4a8"), grids=("per-tensor",)
)
ANY = DeviceProfile("any", "any", "compact")


def refused(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(QnasError) as error:
        find_device(str(path))
    return str(error.value)


@pytest.mark.parametrize("name", device_names())
def test_a_shipped_device_computes_what_it_offers_and_has_a_container_that_holds_it(name: str) -> None:
    device = find_device(name)
    container = PROFILES[device.container]
    assert device.name == name
    for bits in map(Bits.parse, device.bits):
        assert container.floats or bits != FP32
        for grid in device.grids or GRIDS:
            device.check(bits, grid)
            assert container.zero_points or grid != "asymmetric"
    flash, ram = device.budgets.values()
    assert 0 <= flash <= device.weight_bytes <= device.flash
    assert 0 <= ram <= device.activation_bytes <= device.ram
    assert DeviceProfile.from_json(json.loads(json.dumps(device.to_json()))) == device
    assert json.loads(json.dumps(device.to_json())) == device.to_json()  # so that a run is continued


def test_the_shipped_devices_are_those_of_the_documents() -> None:
    found = {name: (find_device(name).flash // 1024, find_device(name).ram // 1024) for name in device_names()}
    assert found == {"cortex-m4": (256, 64), "fpga-finn": (630, 0), "cpu-onnxruntime": (0, 0)}
    assert find_device("cortex-m4").bits == ("w8a8", "w4a8")
    assert find_device("fpga-finn").usual_grid == "power-of-two"


def test_a_name_that_is_none_is_answered_with_the_closest() -> None:
    with pytest.raises(QnasError, match=r"No device profile is called 'cortex-m5'; did you mean 'cortex-m4'\?"):
        find_device("cortex-m5")


@pytest.mark.parametrize(
    ("bits", "grid", "edges", "message"),
    [
        (Bits(2, 2), "per-tensor", 0, "small computes w8a8 or w4a8, got `bits='w2a2'`; give one of these, or none."),
        (FP32, "per-tensor", 0, "small computes w8a8 or w4a8, got `bits='fp32'`; give one of these, or none."),
        (Bits(4, 8), "per-tensor", 6, "small computes w8a8 or w4a8, got `edges=6`; leave it out, or give another."),
        (
            Bits(8, 8),
            "asymmetric",
            0,
            "small computes on per-tensor grids, got `grid='asymmetric'`; give one of these.",
        ),
    ],
)
def test_what_a_device_does_not_compute_is_refused(bits: Bits, grid: str, edges: int, message: str) -> None:
    with pytest.raises(QnasError) as error:
        SMALL.check(bits, grid, edges)
    assert str(error.value) == message
    ANY.check(bits, grid, edges)


def test_a_budget_is_what_is_asked_for_up_to_what_there_is() -> None:
    asked = dict.fromkeys(("weight_bytes", "activation_bytes", "flash", "ram"), 0)
    assert SMALL.budgets == {"flash": 800, "ram": 400}
    assert replace(SMALL, container="qonnx").budgets == {"weight_bytes": 640, "activation_bytes": 320}
    assert set(ANY.budgets.values()) == {0}
    SMALL.check_asked(asked | {"weight_bytes": 800, "ram": 400})
    ANY.check_asked(dict.fromkeys(asked, 10**9))
    for name in ("activation_bytes", "ram"):
        with pytest.raises(QnasError, match=rf"small has 400 bytes for that, got `max_{name}=401`; give less"):
            SMALL.check_asked(asked | {name: 401})


def test_what_does_not_fit_is_refused_and_by_how_much() -> None:
    SMALL.check_fit(Memory(800, 400))
    ANY.check_fit(Memory(10**9, 10**9))
    with pytest.raises(QnasError, match=r"small has 800 bytes of flash .* needs 1,801, 1,001 too many"):
        SMALL.check_fit(Memory(1801, 0))
    with pytest.raises(QnasError, match=r"400 bytes of RAM .* 1 too many; .* smaller `max_ram`"):
        SMALL.check_fit(Memory(800, 401))


def test_operations_that_a_device_lacks_are_named() -> None:
    few = DeviceProfile("few", "few", "c", operations=("conv", "skip"))
    few.check_operations({"conv"})
    ANY.check_operations({"sep_conv"})
    with pytest.raises(QnasError, match="few computes conv, skip, but the network has sep_conv; give another"):
        few.check_operations({"sep_conv", "conv"})


NEEDED = 'reads = "mine"\ncontainer = "c"\n'


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(NEEDED + 'flash = 4096\noperations = ["conv"]\n', encoding="utf-8")
    expected = DeviceProfile(str(path), "mine", "c", flash=4096, operations=("conv",))
    assert find_device(str(path)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flahs = 3", "unknown key 'flahs'; did you mean 'flash'?"),
        ("name = 'x'", "unknown key 'name'; "),
        ("flash = 2.5", "flash is 2.5 instead of a whole number"),
        ("ram = true", "ram is True instead of a whole number"),
        ("bits = 'w4a4'", "bits is 'w4a4' instead of a list"),
        ("bits = [4]", "bits[0] is 4 instead of a text"),
        ("bits = ['w9a9']", "'w9a9'"),
        ("flash = -1", "got -1 and 0; correct the file."),
        ("ram = 8\nstack = 8", "ram is 0 or more bytes, of which stack leaves some, got 8 and 8"),
        ("code = 1", "got 0 and 1; correct the file."),
        ("grids = ['symetric']", "grids has 'symetric', which is none; did you mean 'asymmetric'?"),
        ("operations = ['covn']", "operations has 'covn', which is none; did you mean 'conv'?"),
    ],
)
def test_a_wrong_value_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path / "d.toml", NEEDED + text)


@pytest.mark.parametrize(("text", "message"), [("reads = 'x'", "no container"), ("reads =", "cannot be read as")])
def test_a_file_that_is_no_profile_is_named(tmp_path: Path, text: str, message: str) -> None:
    found = refused(tmp_path / "d.toml", text)
    assert message in found
    assert found.startswith(f"{tmp_path / 'd.toml'} cannot be read as a device profile (")
