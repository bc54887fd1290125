"""Learning rates over a run."""

from math import cos, pi

WARM_UP, FLOOR = 0.03, 0.02


def learning_rate(progress: float, peak: float, warm_up: float = WARM_UP, floor: float = FLOOR) -> float:
    """Linear warm-up, then half a cosine down to ``floor`` times the peak.

    Args:
        progress: share of the run that is done, 0 to 1.
        peak: highest rate.
        warm_up: share of the run that warms up.
        floor: share of the peak that is left at the end.
    """
    if progress < warm_up:
        return peak * (progress + 1e-3) / (warm_up + 1e-3)
    falling = (1 + cos(pi * min(1.0, (progress - warm_up) / (1 - warm_up)))) / 2
    return peak * (floor + (1 - floor) * falling)
