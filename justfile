# Everyday commands; `just` lists them.
default:
    @just --list

# install for development
install:
    python -m pip install -c constraints.txt -e '.[test]'

# the ordinary tests
test:
    python -m pytest

# style and types
check:
    ruff check .
    ruff format --check .
    mypy

# everything that needs no GPU
all:
    .ci/run
