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

# long commands, killed at so many moments each; crowds that are killed for five minutes; a search of ten thousand networks
soak moments="20":
    #!/usr/bin/env bash
    set -euo pipefail
    folder=$(mktemp -d)
    chmod 755 "$folder"
    trap '.ci/postgres "$folder/postgres" stop || true; rm -rf "$folder"' EXIT
    QNAS_KILLS={{moments}} python -m pytest -m slow tests/test_killed.py
    python benchmarks/crowd.py --seconds 300 --processes 8
    url=$(.ci/postgres "$folder/postgres")
    python benchmarks/crowd.py --seconds 300 --processes 4 --storage "$url"
    python benchmarks/overhead.py --trials 10000

# lines and branches that the tests reach, a room each; less than 95 % is an error (full disks hold no measurements)
coverage:
    #!/usr/bin/env bash
    set -euo pipefail
    python -m pytest -n auto --dist loadfile -m "not gpu" -k "not full_disk" --cov --cov-report=
    for room in quant space network nas runs work exporters; do
        printf '%s: ' "$room"
        python -m coverage report --include="qnas/$room/*" --precision=1 --fail-under=95 --format=total
    done

# style and types
check:
    ruff check .
    ruff format --check .
    mypy

# everything that needs no GPU
all:
    .ci/run
