"""Training programs: `python -m train.<program>`. They import the core, never the nodes."""

import os

# Before any program imports these libraries: they remark on what they lack as they are imported.
for _library in ("TRANSFORMERS", "DIFFUSERS"):
    os.environ.setdefault(f"{_library}_VERBOSITY", "error")
