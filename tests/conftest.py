"""What holds for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home_of_profiles(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Path:
    """The folder of profiles, consent and findings in every test: empty, and not the user's own."""
    folder = tmp_path_factory.mktemp("reflectionflow_home")
    monkeypatch.setenv("REFLECTIONFLOW_HOME", str(folder))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin: on two cores, the longest one would else keep one waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
