"""What a device holds and computes: a TOML file that sets budgets, widths, grid, operations and container."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from qnas.errors import QnasError, check_known, did_you_mean, shown
from qnas.network.memory import Memory
from qnas.quant.choices import GRIDS, USUAL
from qnas.quant.scheme import Bits
from qnas.resources import shipped
from qnas.runs.reading import expect, read_toml, reading
from qnas.space.operations import OPERATIONS

FOLDER = "device_profiles"
SHARE = 0.8
"""Of a device's memory that networks are searched for, where its container is not C, whose memory is counted. Weight
and activation bytes count nothing that a container has besides; what is exported is held against all of it."""
REMEDY = "a device profile is a TOML file; check the path, or copy a shipped one"


@dataclass(frozen=True)
class DeviceProfile:
    """A kind of device.

    Args:
        name: of the shipped one, or the path of the file.
        reads: what it is.
        flash: bytes of memory for constants and code; 0 says nothing of it.
        code: of these, what is left for code.
        ram: bytes of memory for values; 0 says nothing of it.
        stack: of these, what is left for the stack and the program around the network.
        bits: widths that it computes, the usual one first; none: all.
        grids: that it computes, the usual one first; none: all.
        operations: of a search space that it computes; none: all.
        container: in what networks are exported for it, of ``qnas.exporters.registry.PROFILES``.

    Raises:
        QnasError: a value is out of range.
    """

    name: str
    reads: str
    container: str
    flash: int = 0
    code: int = 0
    ram: int = 0
    stack: int = 0
    bits: tuple[str, ...] = ()
    grids: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for whole, part in (("flash", "code"), ("ram", "stack")):
            there, left = getattr(self, whole), getattr(self, part)
            if not 0 <= left <= there or (there and left == there):
                raise QnasError(
                    f"Device profile {self.name!r}: {whole} is 0 or more bytes, of which {part} leaves some, got "
                    f"{shown(there)} and {shown(left)}; correct the file."
                )
        for key, known in (("grids", GRIDS), ("operations", OPERATIONS)):
            for one in getattr(self, key):
                if one not in known:
                    remark = did_you_mean(one, known)
                    raise QnasError(f"Device profile {self.name!r}: {key} has {shown(one)}, which is none; {remark}")
        for text in self.bits:
            Bits.parse(text)

    @property
    def weight_bytes(self) -> int:
        """What constants may take; 0 for no limit."""
        return self.flash - self.code

    @property
    def activation_bytes(self) -> int:
        """What values may take; 0 for no limit."""
        return self.ram - self.stack

    @property
    def runs_c(self) -> bool:
        """Whether it runs the exported C code, whose costs are counted before there is any."""
        return self.container == "c"

    @property
    def budgets(self) -> dict[str, int]:
        """The most that a network may cost, by the names of ``Costs``; 0 for no limit.

        C takes what is counted before there is any; of other containers it is estimated, and ``SHARE`` leaves room.
        """
        if self.runs_c:
            return {"flash": self.weight_bytes, "ram": self.activation_bytes}
        return {name: int(SHARE * getattr(self, name)) for name in ("weight_bytes", "activation_bytes")}

    def check_asked(self, asked: Mapping[str, int]) -> None:
        """Check that no more is asked for than the device has, by the names of ``Costs``.

        Raises:
            QnasError: it is.
        """
        flash, ram = self.weight_bytes, self.activation_bytes
        everything = {"weight_bytes": flash, "activation_bytes": ram, "flash": flash, "ram": ram}
        for name, there in everything.items():
            if there < asked[name] and there:
                raise QnasError(
                    f"{self.name} has {there:,} bytes for that, got `max_{name}={asked[name]}`; give less, or leave it "
                    "out."
                )

    @property
    def usual_bits(self) -> str:
        """The widths that a network gets where nobody says."""
        return self.bits[0] if self.bits else ""

    @property
    def usual_grid(self) -> str:
        """The grid that a network gets where nobody says."""
        return self.grids[0] if self.grids else USUAL

    def to_json(self) -> dict[str, Any]:
        """As JSON reads it back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "DeviceProfile":
        """Read what a run's settings say of it.

        Raises:
            ValueError, TypeError, QnasError: they are of no profile.
        """
        expect(values, {"name": str, **_SHAPE})
        typed: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in values.items()}
        return cls(**typed)

    def check(self, bits: Bits, grid: str, edges: int = 0) -> None:
        """Check that the device computes such a network.

        Raises:
            QnasError: it does not.
        """
        widths = [Bits.parse(text) for text in self.bits]
        if widths and bits not in widths:
            raise QnasError(
                f"{self.name} computes {' or '.join(self.bits)}, got `bits={str(bits)!r}`; give one of these, or none."
            )
        if widths and edges and edges not in {width.weights for width in widths}:
            raise QnasError(
                f"{self.name} computes {' or '.join(self.bits)}, got `edges={edges}`; leave it out, or give another."
            )
        if self.grids and grid not in self.grids:
            raise QnasError(
                f"{self.name} computes on {' or '.join(self.grids)} grids, got `grid={grid!r}`; give one of these."
            )

    def check_operations(self, used: set[str]) -> None:
        """Check that the device computes all operations of a network.

        Raises:
            QnasError: it does not.
        """
        missing = sorted(used - set(self.operations)) if self.operations else []
        if missing:
            raise QnasError(
                f"{self.name} computes {', '.join(self.operations)}, but the network has {missing[0]}; give another."
            )

    def check_fit(self, needed: Memory) -> None:
        """Check that the device holds an exported network.

        Raises:
            QnasError: it does not; the message says by how much.
        """
        for kind, what, least, there in (
            ("flash", "constants", needed.flash, self.weight_bytes),
            ("RAM", "values, image and logits", needed.ram, self.activation_bytes),
        ):
            if there and least > there:
                cost = list(self.budgets)[kind == "RAM"]
                raise QnasError(
                    f"{self.name} has {there:,} bytes of {kind} for {what}, and this network needs {least:,}, "
                    f"{least - there:,} too many; take a smaller network: another `pick`, or a smaller `max_{cost}`."
                )


_SHAPE: dict[str, Any] = {
    "reads": str, "container": str, "flash?": int, "code?": int, "ram?": int, "stack?": int,
    "bits?": [str], "grids?": [str], "operations?": [str],
}  # fmt: skip
_KEYS = [item.name for item in fields(DeviceProfile) if item.name != "name"]


def read_device(path: Path, name: str) -> DeviceProfile:
    """Read the file of a device profile.

    Raises:
        QnasError: it is missing or no TOML, or has an unknown key, a wrong type or an unusable value.
    """
    values = read_toml(path, "a device profile", REMEDY)
    for key in values:
        if key not in _KEYS:
            raise QnasError(f"Device profile {name!r}: unknown key {shown(key)}; {did_you_mean(key, _KEYS)}")
    with reading(path, "a device profile", REMEDY):
        return DeviceProfile.from_json({**values, "name": name})


def device_names() -> list[str]:
    """The names of the shipped device profiles."""
    return sorted(path.stem for path in shipped(FOLDER).glob("*.toml"))


def find_device(name: str) -> DeviceProfile:
    """A shipped device profile by its name, or a file by its path.

    Raises:
        QnasError: there is none, or it cannot be used.
    """
    if name.endswith(".toml"):
        return read_device(Path(name), name)
    check_known("device profile", name, device_names())
    return read_device(shipped(FOLDER) / f"{name}.toml", name)
