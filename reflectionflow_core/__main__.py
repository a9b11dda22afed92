"""`python -m reflectionflow_core` is the program `reflectionflow`."""

import sys


def start() -> int:
    """The program; Ctrl-C is heard from its first import on."""
    try:
        from .cli import main
        from .starting import share_cores

        share_cores()
        return main()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return 130


if __name__ == "__main__":
    sys.exit(start())
