"""Training programs: `python -m train.<program>`. They import the core, never the nodes."""

import os
import sys
from importlib.util import find_spec

from reflectionflow_core.starting import ensure_home, share_cores

# Installed by the extra `train`; each program needs some of them.
_NEEDED = ("torch", "accelerate", "datasets", "ray", "tokenizers", "trl", "webdataset", "yaml")

if _absent := ", ".join(name for name in _NEEDED if find_spec(name) is None):
    sys.stderr.write(
        f"The trainings need packages that are not installed here: {_absent}. "
        'Install them with: pip install -e ".[train]"\n'
    )
    sys.exit(2)

# Set before these libraries are imported: they print warnings on import.
for _library in ("TRANSFORMERS", "DIFFUSERS"):
    os.environ.setdefault(f"{_library}_VERBOSITY", "error")

ensure_home()
share_cores()  # before torch starts its threads
