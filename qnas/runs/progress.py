"""How long work tells how far it is: a callback that is given the name of the stage, a share and a remark."""

from collections.abc import Callable

Report = Callable[[float, str], None]
"""Told the share of a stage that is done, 0 to 1, and a remark."""
Progress = Callable[[str, float, str], None]
"""Told the name of a stage, the share of it that is done, 0 to 1, and a remark."""


def silent(stage: str, share: float, remark: str) -> None:
    """Show nothing."""


def stage(progress: Progress, name: str) -> Report:
    """What one stage reports to."""

    def report(share: float, remark: str = "") -> None:
        progress(name, share, remark)

    return report
