"""Runs on disk: a search that saves itself goes on after a crash, and is never painted twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from comfy_graphs import (
    DRAFTS,
    Graph,
    link,
    loop_graph,
    rounds_by_hand,
    search_options,
    trail_of,
)
from comfy_server import ComfyServer, Run

STEPS = 3  # the pictures need not be good
SLOW = 30  # slow enough to be killed in the middle
PICTURES = DRAFTS + 2 * 2


def saved(depth: int, steps: int = STEPS, **changes: object) -> Graph:
    return loop_graph(depth=depth, steps=steps, save_run=True, **changes)


def folder_of(comfy: ComfyServer, run: Run) -> Path:
    return comfy.base / "output" / json.loads(run.text("report"))["folder"]


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "images").glob("*.png")}


def runs_in(comfy: ComfyServer) -> list[Path]:
    return sorted((comfy.base / "output" / "reflectionflow").glob("*"))


def steps_of(comfy: ComfyServer, graph: Graph) -> tuple[Run, int]:
    """The run, and how many diffusion steps it took."""
    with comfy.listening("counter") as listener:
        prompt_id = comfy.queue(graph, "counter")
        listener.until_over(prompt_id)
    return comfy.wait(prompt_id), len(listener.of("progress"))


def killed_in_the_middle(comfy: ComfyServer, pictures: int) -> Path:
    """The folder of a search whose ComfyUI died after some pictures."""
    comfy.queue(saved(depth=2, steps=SLOW))
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if (runs := runs_in(comfy)) and len(stamps(runs[0])) >= pictures:
            break
        time.sleep(0.02)
    comfy.kill()
    return runs_in(comfy)[0]


def test_a_search_goes_on_after_its_comfyui_was_killed_as_if_nothing_had_happened(
    comfy: ComfyServer, own_comfy: Callable[..., ComfyServer]
) -> None:
    whole = comfy.succeed(saved(depth=2, steps=SLOW))
    mortal = own_comfy("mortal").start()
    folder = killed_in_the_middle(mortal, pictures=DRAFTS + 1)
    finished = (folder / "history.jsonl").read_bytes().count(b"\n")
    before = stamps(folder)
    assert DRAFTS <= finished < PICTURES
    run, steps = steps_of(mortal.start(), saved(depth=2, steps=SLOW))
    assert run.status == "success", run.error
    assert steps == (PICTURES - finished) * SLOW, "a picture was painted twice, or never"
    after = stamps(folder)
    assert sum(after[name] == stamp for name, stamp in before.items()) >= finished
    assert folder_of(mortal, run) == folder
    for name in ("history.jsonl", "run.json"):
        undisturbed = folder_of(comfy, whole) / name
        assert (folder / name).read_bytes() == undisturbed.read_bytes()
    assert run.pixels("images") == whole.pixels("images")


def test_a_saved_search_is_read_again_and_not_painted_again(comfy: ComfyServer) -> None:
    first = comfy.succeed(saved(depth=1, seed=11))
    folder = folder_of(comfy, first)
    written, history = stamps(folder), (folder / "history.jsonl").read_bytes()
    assert len(written) == DRAFTS + 2
    comfy.forget()
    again, steps = steps_of(comfy, saved(depth=1, seed=11))
    assert steps == 0
    assert again.pixels("images") == first.pixels("images")
    assert stamps(folder) == written
    assert (folder / "history.jsonl").read_bytes() == history


def test_a_random_seed_is_drawn_once_recorded_and_replayed(comfy: ComfyServer) -> None:
    first = comfy.succeed(saved(depth=0, seed=-1))
    drawn = json.loads(first.text("report"))["settings"]["seed"]
    assert 0 <= drawn < 2**32
    comfy.forget()
    deeper, steps = steps_of(comfy, saved(depth=1, seed=-1))
    assert steps == 2 * STEPS, "the drafts were painted again"
    assert json.loads(deeper.text("report"))["settings"]["seed"] == drawn
    assert folder_of(comfy, deeper) == folder_of(comfy, first)
    named = comfy.succeed(saved(depth=1, seed=drawn))
    assert named.pixels("images") == deeper.pixels("images")


def test_a_saved_search_goes_deeper_and_comes_back_up(comfy: ComfyServer) -> None:
    shallow = comfy.succeed(saved(depth=1, seed=12))
    comfy.forget()
    deeper, steps = steps_of(comfy, saved(depth=2, seed=12))
    assert steps == 2 * STEPS
    assert folder_of(comfy, deeper) == folder_of(comfy, shallow)
    comfy.forget()
    again, steps = steps_of(comfy, saved(depth=1, seed=12))
    assert steps == 0
    assert again.pixels("images") == shallow.pixels("images") == deeper.pixels("images")[:-2]


def test_every_search_has_a_folder_of_its_own_with_all_that_there_is_to_see(
    comfy: ComfyServer,
) -> None:
    one, two = (comfy.succeed(saved(depth=0, seed=seed)) for seed in (21, 22))
    assert folder_of(comfy, one) != folder_of(comfy, two)
    for run in (one, two):
        names = {path.name for path in folder_of(comfy, run).iterdir()}
        kept = {"run.json", "history.jsonl", "timing.json", "images", "best.png"}
        assert kept | {"sheet.png", "report.html"} <= names


def test_the_report_of_a_saved_search_names_the_limit_that_ended_it(comfy: ComfyServer) -> None:
    options = {"options": search_options(max_steps=DRAFTS * STEPS + 1)}
    run = comfy.succeed(saved(depth=1, seed=23, options=link("options")) | options)
    page = (folder_of(comfy, run) / "report.html").read_text("utf-8")
    assert "Ended after the drafts, before 1 round: the budget of steps is used up." in page


def test_a_trail_saves_a_search_that_was_not_saved_as_it_went(comfy: ComfyServer) -> None:
    as_it_went = comfy.succeed(saved(depth=1, seed=31))
    graph = rounds_by_hand(2, seed=31) | trail_of(["round1", 0], save_run=True)
    graph["sampling"] = saved(depth=1)["sampling"]
    for number in range(2):
        graph[f"round{number}"]["inputs"]["flux"] = ["sampling", 0]
    afterwards = comfy.succeed(graph)
    histories = [folder_of(comfy, run) / "history.jsonl" for run in (as_it_went, afterwards)]
    assert histories[0].read_bytes() == histories[1].read_bytes()


def test_a_run_whose_files_were_damaged_is_left_alone_and_named(comfy: ComfyServer) -> None:
    run = comfy.succeed(saved(depth=0, seed=41))
    folder = folder_of(comfy, run)
    (folder / "images" / sorted(stamps(folder))[0]).write_bytes(b"scratched")
    comfy.forget()
    failed = comfy.run(saved(depth=1, seed=41))
    assert failed.message("execution_error")["node_id"] == "loop"
    assert "is damaged" in failed.error and "Restore it from a backup" in failed.error


def test_a_comfyui_without_metadata_saves_pictures_without_texts(
    comfy: ComfyServer, own_comfy: Callable[..., ComfyServer]
) -> None:
    plain = own_comfy("plain", flags=("--disable-metadata",)).start()
    for server, expected in ((comfy, True), (plain, False)):
        folder = folder_of(server, server.succeed(saved(depth=0, seed=51)))
        pictures = [folder / "best.png", *(folder / "images").glob("*.png")]
        assert len(pictures) == 1 + DRAFTS
        for picture in pictures:
            assert (b"yellow circle" in picture.read_bytes()) is expected
