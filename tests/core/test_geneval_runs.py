"""`reflectionflow evaluate geneval` whole: the miniature paints, the exact detector judges."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from core.exact_detector import ShapesColours, ShapesDetector, prompts
from core.tiny_detectors import save_clip, save_mask2former
from fakes import Toys, ToyVerifier
from PIL import Image

from reflectionflow_core.archive import files
from reflectionflow_core.cli import main
from reflectionflow_core.evaluation.pool import WorkerPool
from reflectionflow_core.geneval import judging, painting
from reflectionflow_core.geneval.folder import samples_in
from reflectionflow_core.geneval.scores import ANY, LABEL, MACRO, MICRO, table_of
from reflectionflow_core.protocols import SILENT
from reflectionflow_core.record import InputError, Verdict
from reflectionflow_core.search.unjudged import UnjudgedError
from reflectionflow_core.settings import SearchSettings

SEARCH = ("--width", "1", "--depth", "0", "--strategy", "noise", "--batch-size", "1")


def install(patch: pytest.MonkeyPatch, detector: ShapesDetector) -> None:
    """Replaces the loaders by the exact detector of shapes."""
    patch.setattr(judging, "load_detector", lambda *_, **__: detector)
    patch.setattr(judging, "load_colours", lambda *_, **__: ShapesColours())


@pytest.fixture(autouse=True)
def exact_detector(monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda _: None)
    install(monkeypatch, ShapesDetector())


@pytest.fixture(scope="module")
def prompt_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("prompts") / "evaluation_metadata.jsonl"
    file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts()))
    return file


def judge(images: Path, file: Path, *options: object) -> int:
    asked = ("evaluate", "geneval", "--images", images, "--json", file, *options)
    return main([*map(str, asked), "--detector", "shapes", "--colour-judge", "shapes"])


def generate(images: Path, file: Path, prompt_file: Path, *options: object) -> int:
    return judge(
        images, file, "--generate", "--prompts", prompt_file, "--samples", 2, *SEARCH, *options
    )


@pytest.fixture(scope="module")
def painted(tmp_path_factory, prompt_file) -> Path:
    """A folder that was painted and judged; out.json lies beside it."""
    folder = tmp_path_factory.mktemp("painted")
    with pytest.MonkeyPatch.context() as patch:
        install(patch, ShapesDetector())
        assert generate(folder / "images", folder / "out.json", prompt_file) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.png")}


def test_prompts_become_pictures_as_geneval_lays_them_out(painted: Path) -> None:
    images = painted / "images"
    folders = sorted(path.name for path in images.iterdir() if path.is_dir())
    assert folders == [f"{i:05}" for i in range(6)]
    for folder, prompt in zip(folders, prompts(), strict=True):
        assert json.loads((images / folder / "metadata.jsonl").read_text()) == prompt
        names = [path.name for path in sorted((images / folder / "samples").iterdir())]
        assert names == ["0000.png", "0001.png"]
    assert len(set(contents(images).values())) == 12  # every sample has a noise of its own


def test_results_have_the_official_lines_and_the_official_mean(painted: Path) -> None:
    lines = [json.loads(line) for line in (painted / "out.jsonl").read_text().splitlines()]
    names = ["filename", "tag", "prompt", "correct", "reason", "metadata", "details"]
    assert [list(line) for line in lines] == [names] * 12
    for line in lines:
        assert Path(line["filename"]).is_file()
        assert json.loads(line["metadata"])["prompt"] == line["prompt"]
        assert line["correct"] is (not line["reason"])
        assert all(len(box) == 5 for found in json.loads(line["details"]).values() for box in found)
    by_task: dict[str, list[bool]] = {}
    for line in lines:
        by_task.setdefault(line["tag"], []).append(line["correct"])
    rows = json.loads((painted / "out.json").read_text())["summary"]["tables"][0]["rows"]
    means = [sum(right) / len(right) for right in by_task.values()]
    assert rows[MACRO][0]["mean"] == pytest.approx(sum(means) / 6)
    assert 0 < rows[MACRO][0]["mean"] <= 1


def test_results_carry_what_they_cost_and_where_they_come_from(painted: Path) -> None:
    record = json.loads((painted / "out.json").read_text())
    known = record["provenance"]
    assert known["command"].startswith("reflectionflow evaluate geneval --images ")
    assert known["seed"] == 0 and "torch" in known["versions"]
    assert known["painting"]["pictures"] == 12 and known["painting"]["diffusion_steps"] == 12 * 12
    assert known["painting"]["vlm_calls"] == 0 and known["painting"]["seconds"] > 0
    assert known["cost"]["peak_memory_bytes"]["resident"] > 10**8
    assert record["summary"]["sight"] == [
        {"device": "cpu", "pictures": 6, "seen": pytest.approx(1, abs=0.4), "agreed": None}
    ]
    page = (painted / "out.html").read_text()
    assert LABEL in page and "Not official" in page and "spent on a picture" in page


def test_the_means_that_papers_mix_are_named_apart() -> None:
    asked = [{"index": i, "tag": tag} for i, tag in enumerate(["a", "a", "a", "b"])]
    right = {0: (1, 1), 1: (0, 0), 2: (0, 1), 3: (1, 1)}
    lines = [{"index": i, "line": {"correct": bool(c)}} for i, pair in right.items() for c in pair]
    rows = {name: cells[0].mean for name, cells in table_of(asked, lines).rows if cells[0]}
    assert rows[MACRO] == pytest.approx((0.5 + 1) / 2)
    assert rows[MICRO] == pytest.approx(5 / 8)
    assert rows[ANY] == pytest.approx(3 / 4)
    assert rows["a (3 prompts)"] == pytest.approx(0.5)


def test_a_killed_painting_resumes_and_ends_as_an_uninterrupted_one(
    painted: Path, tmp_path: Path, prompt_file: Path, monkeypatch
) -> None:
    paint_one, kept = painting._keep, []

    def die_after_four(folder: Path, painted: Any) -> Any:
        if len(kept) == 4:
            raise KeyboardInterrupt
        kept.append(painted)
        return paint_one(folder, painted)

    monkeypatch.setattr(painting, "_keep", die_after_four)
    images, file = tmp_path / "images", tmp_path / "out.json"
    assert generate(images, file, prompt_file) == 130
    with (images / "painting.json.part").open("ab") as part:
        part.write(b'{"index": 3, "sam')  # cut off in the middle of a line
    assert judge(images, file) == 2  # not all painted: no figures
    monkeypatch.setattr(painting, "_keep", paint_one)
    assert generate(images, file, prompt_file, "--seed", 5) == 2  # of another search
    assert generate(images, file, prompt_file) == 0
    assert contents(images) == contents(painted / "images")
    own, whole = (json.loads(f.read_text()) for f in (file, painted / "out.json"))
    assert own["summary"]["tables"][0] == whole["summary"]["tables"][0]


class Refusing(ToyVerifier):
    """A judge that refuses some searches, counted from 0."""

    def __init__(self, *refused: int) -> None:
        super().__init__()
        self.searches, self.refused = -1, refused

    def verify(self, prompt, images, progress=SILENT) -> list[Verdict]:
        self.searches += bool(images)
        no, yes = Verdict.unjudged("The server refuses."), Verdict(0.5)
        return [no if self.searches in self.refused else yes for _ in images]


def test_a_prompt_that_a_judge_always_refuses_does_not_end_a_benchmark(tmp_path: Path) -> None:
    settings = SearchSettings(width=1, depth=0)
    prompts = [{"prompt": f"{number} cups"} for number in range(6)]
    run = painting.PaintingRun(tmp_path / "all", prompts, 1, settings, {})
    pool = WorkerPool(1)
    assert [*painting.paint(run, Toys(verifier=Refusing(1, 3, 4)).actors, pool)][-1] == 6
    record = painting.read_record(run.folder)
    assert record is not None
    assert [line["score"] is None for line in record["pictures"]] == [
        False,
        True,
        False,
        True,
        True,
        False,
    ]
    assert "3 of 6 searches could not be judged" in painting.unjudged_text(run.folder)
    other = painting.PaintingRun(tmp_path / "none", prompts, 1, settings, {})
    with pytest.raises(UnjudgedError, match="The server refuses"):  # three in a row: the judge's
        list(painting.paint(other, Toys(verifier=Refusing(*range(6))).actors, pool))
    assert len(other.journal.lines(dict)) == 2


def test_a_killed_judging_resumes(painted: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    class Dying(ShapesDetector):
        left = 9  # the device check looks at six

        def detect(self, images, names, progress=None):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().detect(images, names)

    file = tmp_path / "again.json"
    install(monkeypatch, Dying())
    assert judge(painted / "images", file) == 130
    part = file.with_name("again.json.part")
    assert len(part.read_text().splitlines()) == 1 + 3
    install(monkeypatch, ShapesDetector())
    capsys.readouterr()
    assert judge(painted / "images", file) == 0
    assert "3 of 12 pictures judged" in capsys.readouterr().err.replace("\r", "\n")
    assert file.with_suffix(".jsonl").read_bytes() == (painted / "out.jsonl").read_bytes()
    assert not part.exists()


def test_pictures_from_elsewhere_are_judged_and_their_cost_is_not_made_up(
    painted: Path, tmp_path: Path
) -> None:
    images = tmp_path / "theirs"
    place = images / "00003" / "samples"
    place.mkdir(parents=True)
    (images / "00003" / "metadata.jsonl").write_text(json.dumps(prompts()[3]))
    Image.open(painted / "images/00003/samples/0000.png").resize((256, 256)).save(place / "7.png")
    for name in ("grid.png", "8.png.bak"):
        (place / name).write_bytes(b"no sample")
    (images / "readme.txt").write_text("not a prompt")
    assert [s.file.name for s in samples_in(images)] == ["7.png"]
    assert judge(images, tmp_path / "out.json") == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["provenance"]["painting"] is None and record["provenance"]["seed"] is None
    assert "the whole protocol has 553 prompts" in record["summary"]["whole"]


def test_a_blind_detector_ends_without_a_result(
    painted: Path, tmp_path, monkeypatch, capsys
) -> None:
    install(monkeypatch, ShapesDetector(blind=True))
    assert judge(painted / "images", tmp_path / "out.json") == 2
    assert "it does not work, or the pictures show nothing" in capsys.readouterr().err
    assert not list(tmp_path.glob("out.json")) and not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--width", 3), "--width belongs to the search"),
        (("--vlm", "endpoint:x"), "--vlm belongs to the search"),
        (("--generate",), "There is nothing to paint"),
        (("--generate", "--think-first", "--prompts", "PROMPTS"), "--think-first"),
        (("--generate", "--planner", "rules", "--prompts", "PROMPTS"), "Remove --planner."),
        (("--generate", "--strategy", "staged", "--prompts", "PROMPTS"), "begins with a plan"),
        (
            ("--generate", "--strategy", "interleaved", "--prompts", "PROMPTS"),
            "begins with a thought",
        ),
        (("--generate", "--prompts", "/none"), "Cannot read /none"),
        (("--generate", "--prompts", "PROMPTS"), "painted with other options"),
        (("--generate", "--prompts", "BLANK"), "has no prompts"),
        (("--generate", "--prompts", "LATIN"), "is not UTF-8"),
        (("--images", "/none"), "There is no folder /none"),
        (("--images", "EMPTY"), "contains no pictures in GenEval's layout"),
    ],
)
def test_bad_options_are_named(
    painted, prompt_file, tmp_path, capsys, options: tuple[Any, ...], why: str
) -> None:
    (tmp_path / "blank").write_text("\n")
    (tmp_path / "latin").write_bytes(b'{"prompt": "caf\xe9"}')
    places = {"PROMPTS": prompt_file, "EMPTY": tmp_path}
    places |= {"BLANK": tmp_path / "blank", "LATIN": tmp_path / "latin"}
    given = [places.get(option, option) for option in options]
    assert judge(painted / "images", tmp_path / "out.json", *given) == 2
    assert why in capsys.readouterr().err


def test_colours_without_a_judge_are_refused_before_anything_is_judged(
    painted: Path, tmp_path: Path, capsys
) -> None:
    asked = ("evaluate", "geneval", "--images", painted / "images", "--detector", "shapes")
    assert main([*map(str, asked), "--json", str(tmp_path / "out.json")]) == 2
    assert "--colour-judge" in capsys.readouterr().err


def test_a_damaged_picture_is_counted_and_the_others_are_judged(
    painted: Path, tmp_path: Path, capsys
) -> None:
    images = tmp_path / "images"
    shutil.copytree(painted / "images", images)
    first = images / "00000" / "samples" / "0000.png"
    first.write_bytes(first.read_bytes()[:-40])
    (images / "00001" / "samples" / "0001.png").write_bytes(b"no picture")
    assert judge(images, tmp_path / "out.json") == 0
    sentence = "Left out of all figures: 2 pictures that cannot be used, such as"
    assert sentence in capsys.readouterr().err
    record = json.loads((tmp_path / "out.json").read_text())
    names = [(line["index"], line["name"]) for line in record["pictures"]]
    assert len(names) == 10 and not {(0, "0000.png"), (1, "0001.png")} & set(names)
    assert sentence in (tmp_path / "out.html").read_text()


def test_a_folder_without_any_readable_picture_is_refused(tmp_path: Path, capsys) -> None:
    place = tmp_path / "images" / "00000" / "samples"
    place.mkdir(parents=True)
    (place.parent / "metadata.jsonl").write_text(json.dumps(prompts()[0]))
    (place / "0000.png").write_bytes(b"no picture")
    assert judge(tmp_path / "images", tmp_path / "out.json") == 2
    assert "0000.png (it is not PNG" in capsys.readouterr().err


def test_a_learned_detector_is_loaded_and_a_blind_one_is_refused(
    painted: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """A real Mask2Former and a real CLIP, of random weights: they run, and see nothing."""
    from reflectionflow_core.detection.colours import load_colours
    from reflectionflow_core.detection.detectors import load_detector

    monkeypatch.setattr(judging, "load_detector", load_detector)
    monkeypatch.setattr(judging, "load_colours", load_colours)
    for name in ("detector", "clip", "images/00000/samples"):
        (tmp_path / name).mkdir(parents=True)
    bench = {"tag": "colors", "include": [{"class": "bench", "count": 1, "color": "red"}]}
    metadata = json.dumps({**bench, "prompt": "a red bench"})
    (tmp_path / "images/00000/metadata.jsonl").write_text(metadata)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "images/00000/samples/0000.png")
    asked = ("--detector", save_mask2former(tmp_path / "detector"), "--device", "cpu")
    asked += ("--colour-judge", save_clip(tmp_path / "clip"), "--json", tmp_path / "out.json")
    command = ["evaluate", "geneval", "--images", tmp_path / "images", *asked]
    assert main(list(map(str, command))) == 2
    assert "finds something that was asked for in 0% of 1 pictures" in capsys.readouterr().err


@pytest.mark.parametrize("record", [[], 5, {}, {"seed": 0}, {"seed": 0, "pictures": [{}]}, "x"])
def test_a_damaged_record_of_the_painting_is_a_sentence(tmp_path: Path, record: Any) -> None:
    (tmp_path / painting.RECORD).write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"is damaged .* Remove it, or paint again"):
        painting.painted_by(tmp_path)


@pytest.mark.parametrize("benchmark", ["geneval", "geneval2"])
def test_the_help_has_no_option_that_is_always_refused(benchmark: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", benchmark, "--help"])
    options = capsys.readouterr().out.partition("\nsearch:\n")[2]
    for flag in ("think-first", "draft-prompt", "stages", "planner", "inspector", "thinker"):
        assert f"\n  --{flag} " not in options
    for name in ("verifier", "writer", "evolver", "strategy"):
        about = " ".join(options.partition(f"\n  --{name} NAME")[2].partition("\n  --")[0].split())
        assert about and not {"me", "staged", "interleaved"} & {*about.replace(",", "").split()}
