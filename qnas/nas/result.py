"""The result of a search as it lies in its run folder."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qnas.errors import QnasError, shown
from qnas.nas.settings import COSTS, IN_C, SearchSettings
from qnas.runs.files import write_json
from qnas.runs.reading import expect, read_json, reading

if TYPE_CHECKING:
    from qnas.nas.rungs import Selection

RESULT, PICKS = "result.json", "picks"
NETWORK = {
    "key": str, "score": float, "estimate": (float,), "trained": {str: float}, "test": (float,), "params": int,
    "macs": int, "weight_bytes": int, "activation_bytes": int, "latency": float, "instructions?": float,
    "flash?": int, "ram?": int,
    "genotype": {}, "front?": bool, "failed?": str,
}  # fmt: skip
TRUST = {"labels": int, "mean_absolute_error": float, "tau": float, "tau_params": float, "estimates?": str}
SHAPE = {
    "screened": int, "pareto": [str], "calibration": (TRUST,), "picks": [NETWORK], "candidates": [NETWORK],
}  # fmt: skip
"""What a result has at least."""


def write_result(folder: Path, settings: SearchSettings, chosen: "Selection") -> None:
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
    what = "the result of a finished run"
    if run.is_dir() and not path.is_file():
        raise QnasError(f"A finished search has the file {RESULT}, and {run} has none; check the path, or {remedy}.")
    result = read_json(path, what, remedy)
    if result.get("picks") in (None, []):
        raise QnasError(f"{path} holds no picks; {remedy}.")
    with reading(path, what, remedy):
        expect(result, SHAPE)
        for place, one in enumerate(result["picks"]):
            if not one["trained"] or (result["pareto"] and "front" not in one):
                raise ValueError(f"picks[{place}] has no trained accuracy, or does not say whether it is on the front")
        for one in (*result["picks"], *result["candidates"]):
            for cost in IN_C:
                one.setdefault(cost, 0)
            if bad := [steps for steps in one["trained"] if not re.fullmatch("[0-9]{1,18}", steps)]:
                raise ValueError(f"{shown(bad[0])} is no number of steps")
    return result


def networks_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """All networks of a result, in the order in which they were scored."""
    return sorted([*result["picks"], *result["candidates"]], key=lambda one: one.get("number", 0))


def known(network: dict[str, Any]) -> dict[str, Any]:
    """What is known of a network of a result, by names for people."""
    trained = {f"trained {steps} steps": top1 for steps, top1 in network["trained"].items()}
    thought = {name: network[name] for name in ("score", "estimate")}
    facts = {"network": network["key"], **thought, **trained, "test": network["test"]}
    costs = {cost: network[cost] for cost in COSTS if cost in network}
    return {name: value for name, value in {**facts, **costs}.items() if value not in (None, 0.0)}
