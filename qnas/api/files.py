"""What the package has written: read it, and write it for a device."""

from dataclasses import dataclass
from pathlib import Path

from qnas.api.arguments import as_architecture
from qnas.api.search import SearchRun
from qnas.checkpoints.store import WEIGHTS, Checkpoint, checkpoint_names, load_checkpoint
from qnas.data.registry import find_again
from qnas.errors import QnasError
from qnas.exporters.manifest import MANIFEST, read_manifest
from qnas.exporters.parity import Parity
from qnas.exporters.registry import find_profile
from qnas.exporters.winner import Winner, load_winner, own_folder, takes_pixels, write_winner
from qnas.nas.picks import export_pick
from qnas.network.build import Architecture
from qnas.reports.dashboard import serve
from qnas.reports.logs import write_logs
from qnas.reports.overview import show_anything
from qnas.reports.page import write_page
from qnas.runs.folder import RUN, read_run
from qnas.runs.identity import IMAGES


def show(what: str | Path = "") -> None:
    """Print what a path or a name leads to, and what to do next.

    Args:
        what: folder of a winner, a run or a checkpoint; file of a genotype or a hand-made network; name of a shipped
            space, device or checkpoint; empty for all that there is.

    Raises:
        QnasError: it leads to nothing of these.
    """
    show_anything(str(what))


def dashboard(run: str | Path | SearchRun, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve a finished search in Optuna's dashboard, until it is stopped: every network that was scored is a trial.

    Args:
        run: a run or its folder.
        host: address to listen at.
        port: likewise.

    Raises:
        QnasError: the run is not finished, Optuna's dashboard is not installed, or the address cannot be had.
    """
    serve(run.folder if isinstance(run, SearchRun) else Path(run), host, port)


def logs(run: str | Path | SearchRun, *, to: str = "csv", out: str | Path | None = None) -> Path:
    """Write what a run has noted, for a table or TensorBoard: metrics by step, or a search's networks by number.

    Args:
        run: a search, or the folder of one, of a network's training or of a hypernetwork's.
        to: ``csv`` or ``tensorboard``.
        out: file, or for TensorBoard folder, to write; in the run's folder if none is given.

    Returns:
        What was written.

    Raises:
        QnasError: nothing noted, a damaged file, or TensorBoard's package is missing.
    """
    return write_logs(run.folder if isinstance(run, SearchRun) else Path(run), to, Path(out) if out else None)


def report(run: str | Path | SearchRun, *, out: str | Path | None = None) -> Path:
    """Write a finished search as one page of HTML that needs no other file and no network.

    Args:
        run: a run or its folder.
        out: file to write; ``report.html`` in the run's folder if none is given.

    Returns:
        The file.

    Raises:
        QnasError: the run is not finished, or its files are damaged.
    """
    return write_page(run.folder if isinstance(run, SearchRun) else Path(run), Path(out) if out else None)


def load(what: str | Path) -> Winner | SearchRun | Checkpoint | Architecture:
    """Read anything that the package writes.

    Args:
        what: folder of a winner, a run or a checkpoint; file of a genotype or a hand-made network; name of a shipped
            checkpoint.

    Returns:
        A ``Winner``, a ``SearchRun``, a ``Checkpoint``, a ``Genotype`` or a ``HandMade`` network.

    Raises:
        QnasError: there is no such thing, or it is damaged.
    """
    path = Path(what)
    if (path / MANIFEST).is_file():
        return load_winner(path)
    if (path / RUN).is_file():
        settings = read_run(path)["settings"]
        if "network" in settings:
            raise QnasError(f"A trained network is read once its training is finished, got {path}; train on first.")
        return SearchRun(path, settings)
    if (path / WEIGHTS).is_file() or str(what) in checkpoint_names():
        return load_checkpoint(str(what))
    if path.is_file() and path.suffix == ".json":
        return as_architecture(path)
    raise QnasError(
        f"`qnas.load(what)` reads the folder of a winner, a run or a checkpoint, the file of a genotype, or a shipped "
        f"checkpoint ({', '.join(checkpoint_names())}), {str(what)[:80]!r} is none; check the path."
    )


@dataclass(frozen=True)
class Export:
    """An exported network: its folder, and how the file in it compares with torch."""

    folder: Path
    parity: Parity


def export(
    source: str | Path | SearchRun | Winner,
    pick: int = 1,
    *,
    profile: str = "",
    uint8_input: bool = False,
    out: str | Path | None = None,
) -> Export:
    """Write a network for deployment: a pick of a finished search, or a winner, fine-tuned or not.

    Args:
        source: a run or a winner, or the folder of one.
        pick: of a run: 1 for its winner, 2 for the second.
        profile: one of ``qnas.exporters.registry.PROFILES``; if empty, what a run's device reads, or ``compact``.
        uint8_input: whether the model takes 8-bit pixels, (n, height, width, channels), and normalises them itself, as
            exported C does in any case; else prepared images, (n, channels, height, width).
        out: folder to write; without one the pick's or the winner's own where it is exported that way, or one within,
            named after the profile. What an earlier export left there goes.

    Returns:
        The folder, and how the file in it compares with torch in its runtime.

    Raises:
        QnasError: the run is not finished or has no such pick, or there is no such profile, or it cannot hold
            the network, or its images have changed, or what is exported is not the network that was trained; then
            nothing is written.
    """
    if not isinstance(source, SearchRun | Winner) and (Path(source) / MANIFEST).is_file():
        source = load_winner(Path(source))
    if isinstance(source, Winner):
        device, manifest = source.device, read_manifest(source.folder)
        usual, pixels = manifest.get("profile", "compact"), takes_pixels(manifest)
        profile = find_profile(profile or (device.container if device else "compact")).name
        folder = Path(out) if out else own_folder(source.folder, profile, usual, uint8_input and not pixels)
        uint8_input = uint8_input or (pixels and folder == source.folder)
        settings = source.facts["settings"]
        images = find_again(settings["data"], settings.get(IMAGES, {}))
        parity = write_winner(folder, source.genotype, source, images, source.facts, profile, device, uint8_input)
        return Export(folder, parity)
    folder = source.folder if isinstance(source, SearchRun) else Path(source)
    return Export(*export_pick(folder, pick, profile, Path(out) if out else None, uint8_input))
