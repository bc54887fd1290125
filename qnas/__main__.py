"""``python -m qnas``."""

from qnas.cli.main import main

if __name__ == "__main__":
    main()
