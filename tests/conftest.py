"""What holds for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_servers import MISSING, REQUIRE


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


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last words of a run that left real servers out."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    reasons = [str(report.longrepr) for report in reporter.getreports("skipped")]
    for missing in MISSING:
        if count := sum(missing in reason for reason in reasons):
            reporter.section("NOT TESTED AGAINST A REAL SERVER", sep="!", red=True, bold=True)
            text = f"{count} tests were skipped. {missing}, and run again"
            reporter.line(f"{text} ({REQUIRE}=1 makes them fail instead).", yellow=True)
