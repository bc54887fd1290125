"""What this machine is called."""

from pathlib import Path

from qnas.runs.machine import processor


def test_a_processor_has_the_name_that_its_system_gives_it() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.is_file()
        else []
    )
    assert processor()
    assert not names or names[0].endswith(f": {processor()}")
