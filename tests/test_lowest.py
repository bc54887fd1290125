"""The environment of lowest versions is the one that the package promises to run in."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def test_every_dependency_is_pinned_to_the_first_version_that_is_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = [Requirement(text) for text in project["dependencies"]]
    lines = (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {one.name: one for one in map(Requirement, filter(lambda line: not line.startswith("#"), lines))}
    assert pinned.keys() == {one.name for one in allowed}
    for one in allowed:
        (bound,), (found,) = one.specifier, pinned[one.name].specifier
        least, taken = Version(bound.version), Version(found.version)
        assert (bound.operator, found.operator) == (">=", "==")
        if one.name != "torch":
            first = (*least.release, 0, 0)[: len(taken.release)]
            assert taken.release == first, one
