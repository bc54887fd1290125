"""Learning rates over a run."""

from math import cos, pi

WARM_UP, FLOOR = 0.03, 0.02


def learning_rate(
    progress: float, peak: float, warm_up: float = WARM_UP, floor: float = FLOOR, schedule: str = "cosine"
) -> float:
    """Linear warm-up, then half a cosine, or a line, down to ``floor`` times the peak.

    Args:
        progress: share of the run that is done, 0 to 1.
        peak: highest rate.
        warm_up: share of the run that warms up.
        floor: share of the peak that is left at the end.
        schedule: ``cosine`` or ``linear``.
    """
    if progress < warm_up:
        return peak * (progress + 1e-3) / (warm_up + 1e-3)
    passed = min(1.0, (progress - warm_up) / (1 - warm_up))
    left = (1 + cos(pi * passed)) / 2 if schedule == "cosine" else 1 - passed
    return peak * (floor + (1 - floor) * left)
