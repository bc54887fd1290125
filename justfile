# Everyday commands; `just` lists them.
default:
    @just --list

# install for development
install:
    python -m pip install -c constraints.txt -e '.[test]'

# the ordinary tests
test:
    python -m pytest

# damaged files and wrong arguments at random, so many of them
fuzz cases="100000":
    QNAS_FUZZ={{cases}} python -m pytest -m slow tests/test_fuzz.py

# long commands, killed at so many moments each, and a search of ten thousand networks: its time, memory and storage
soak moments="20":
    QNAS_KILLS={{moments}} python -m pytest -m slow tests/test_killed.py
    python benchmarks/overhead.py --trials 10000

# style and types
check:
    ruff check .
    ruff format --check .
    mypy

# everything that needs no GPU
all:
    .ci/run
