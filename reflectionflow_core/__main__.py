"""`python -m reflectionflow_core` is the program `reflectionflow`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
