"""The result of a search as it lies in its run folder."""

from pathlib import Path
from typing import Any

from qnas.errors import QnasError
from qnas.nas.rungs import Selection
from qnas.nas.settings import SearchSettings
from qnas.runs.files import write_json
from qnas.runs.reading import read_json

RESULT, PICKS = "result.json", "picks"


def write_result(folder: Path, settings: SearchSettings, chosen: Selection) -> None:
    """Write what a search found; its picks' test accuracies are known by now.

    Networks are numbered from 1 in the order in which they were scored.
    """
    keys, front = {pick.key for pick in chosen.picks}, {pick.key for pick in chosen.front}
    numbers = {one.key: number for number, one in enumerate(chosen.candidates, 1)}
    trust = chosen.trust
    write_json(folder / RESULT, {
        "screened": len(chosen.candidates),
        "pareto": list(settings.pareto),
        "calibration": trust and {
            "labels": trust.labels,
            "mean_absolute_error": trust.error,
            "tau": trust.tau,
            "tau_params": trust.tau_params,
            "estimates": "full runs" if settings.usual_price else "short runs",
        },
        "picks": [
            {"number": numbers[pick.key], **pick.to_json(), "front": pick.key in front} for pick in chosen.picks
        ],
        "candidates": [
            {"number": numbers[one.key], **one.to_json()} for one in chosen.candidates if one.key not in keys
        ],
    })  # fmt: skip


def read_result(run: Path) -> dict[str, Any]:
    """What a finished search found.

    Raises:
        QnasError: the folder holds no result.
    """
    path, remedy = run / RESULT, "finish the run with the command that began it"
    result = read_json(path, "the result of a finished run", remedy)
    if not isinstance(result.get("picks"), list) or not result["picks"]:
        raise QnasError(f"{path} holds no picks; {remedy}.")
    return result
