"""One ComfyUI for all tests here; without ComfyUI they are skipped, and the end of the run says so.

REFLECTIONFLOW_REQUIRE_COMFYUI=1 lets them fail instead of skipping.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from comfy_server import NO_BROWSER, NO_COMFYUI, REQUIRE, ComfyServer, demand_comfyui

SECRET = "plantedTestSecret0123456789abcdef"  # looks like nothing, so that no filter hides it
PROFILES = {"planted": {"api_key": SECRET, "base_url": "https://example.invalid/v1"}}


def furnished(base: Path) -> ComfyServer:
    """A server, not yet started, on whose machine secrets lie about."""
    profiles = base / "user" / "__reflectionflow" / "profiles.json"
    profiles.parent.mkdir(parents=True)
    profiles.write_text(json.dumps(PROFILES), encoding="utf-8")
    return ComfyServer(base, environment={"REFLECTIONFLOW_X_API_KEY": SECRET})


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A ComfyUI that all tests share: their graphs differ, or they do not mind its cache."""
    demand_comfyui()
    server = furnished(tmp_path_factory.mktemp("comfy"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def own_comfy(tmp_path: Path) -> Iterator[Callable[..., ComfyServer]]:
    """Makes servers, not yet started, for a test that harms them: own_comfy("name", flags=...)."""
    demand_comfyui()
    made: list[ComfyServer] = []

    def make(name: str, **given: object) -> ComfyServer:
        made.append(ComfyServer(tmp_path / name, **given))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for server in made:
        server.stop()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last words of a run that left ComfyUI or the browser out."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    reasons = [str(report.longrepr) for report in reporter.getreports("skipped")]
    for missing in (NO_COMFYUI, NO_BROWSER):
        if count := sum(missing in reason for reason in reasons):
            reporter.section("NOT TESTED IN COMFYUI", sep="!", red=True, bold=True)
            text = f"{count} tests were skipped. {missing}, and run again"
            reporter.line(f"{text} ({REQUIRE}=1 makes them fail instead).", yellow=True)
