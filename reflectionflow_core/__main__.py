"""`python -m reflectionflow_core` is the program `reflectionflow`."""

import sys

from reflectionflow_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
