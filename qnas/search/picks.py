"""Exports picks of a finished search: from its run folder to a folder that holds all a user needs."""

import json
from pathlib import Path
from typing import Any

from qnas.data.find import find_data
from qnas.errors import QnasError
from qnas.export.parity import Parity
from qnas.export.winner import write_winner
from qnas.search.run import RESULT, load_pick, read_run
from qnas.space.genotype import Genotype

WINNER = "winner"


def read_result(run: Path) -> dict[str, Any]:
    """What a finished search found.

    Raises:
        QnasError: the folder holds no result.
    """
    path = run / RESULT
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not result["picks"]:
            raise ValueError("no picks")
        return result
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QnasError(
            f"A finished run holds {RESULT}, but {path} cannot be read ({error}); "
            "finish the run with the command that began it."
        ) from error


def export_pick(run: Path, pick: int = 1, profile: str = "compact", out: Path | None = None) -> tuple[Path, Parity]:
    """Export one pick of a finished run.

    Args:
        run: its folder.
        pick: 1 for the winner, 2 for the second.
        profile: of ``qnas.export.winner.PROFILES``.
        out: folder to write; inside the run's if none is given.

    Returns:
        The folder, and how the ONNX model compares with torch.

    Raises:
        QnasError: the run is not finished or has no such pick.
    """
    picks = read_result(run)["picks"]
    if not 1 <= pick <= len(picks):
        raise QnasError(f"--pick is 1 to {len(picks)} for this run, got {pick}; see them with: qnas show {run}")
    chosen = picks[pick - 1]
    settings = read_run(run)["settings"]
    data = find_data(settings["data"])
    genotype = Genotype.from_json(chosen["genotype"])
    facts = {"settings": settings, "accuracy": {key: chosen[key] for key in ("score", "estimate", "trained", "test")}}
    folder = out or run / (WINNER if pick == 1 else f"pick{pick}")
    return folder, write_winner(folder, genotype, load_pick(run, genotype, data), data, facts, profile)
