"""`python -m reflectionflow_core` is the program `reflectionflow`."""

import os
import sys


def start() -> int:
    """The program; Ctrl-C is heard from its first import on."""
    try:
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            if getattr(sys, name) is None:  # closed by whoever started this, as by a shell's >&-
                setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
        from .cli import main
        from .starting import ensure_home, share_cores

        ensure_home()
        share_cores()
        return main()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return 130


if __name__ == "__main__":
    sys.exit(start())
