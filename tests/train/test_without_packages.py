"""A machine where only what a search needs is installed."""

from __future__ import annotations

import subprocess
import sys


def test_a_training_without_its_packages_says_what_to_install():
    hidden = "import sys; sys.modules['ray'] = None; sys.modules['trl'] = None; import train"
    done = subprocess.run(
        [sys.executable, "-c", hidden], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "not installed here: ray, trl." in done.stderr
    assert 'pip install -e ".[train]"' in done.stderr
    assert "Traceback" not in done.stderr
