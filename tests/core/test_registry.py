"""Names become actors, and a name that is not there is told with those that are."""

from dataclasses import replace

import pytest
from fakes import ToyCorrector, ToyGenerator, ToyVerifier

from reflectionflow_core import registry
from reflectionflow_core.identity import digest, identity
from reflectionflow_core.record import InputError
from reflectionflow_core.registry import ActorChoice, ModelRow, Row, build_actors
from reflectionflow_core.settings import SearchSettings


@pytest.fixture
def toy_choice(monkeypatch):
    """The choice of a model and a verifier that were added to the registry from outside."""
    monkeypatch.setitem(
        registry.MODELS,
        "toy",
        ModelRow(lambda _, corrects: (ToyGenerator(), ToyCorrector() if corrects else None)),
    )
    monkeypatch.setitem(registry.VERIFIERS, "mine", Row(lambda *_: ToyVerifier()))
    monkeypatch.setitem(registry.EVOLVERS, "mine", Row(lambda *_: object()))
    return ActorChoice(model="toy", verifier="mine", evolver="mine")


def test_a_verifier_of_ones_own_is_one_row(toy_choice):
    assert isinstance(build_actors(toy_choice, SearchSettings()).verifier, ToyVerifier)


@pytest.mark.parametrize(
    ("settings", "seated"),
    [
        (SearchSettings(), ["corrector", "evolver", "writer"]),
        (SearchSettings(axes=("noise", "reflection")), ["corrector", "writer"]),
        (SearchSettings(strategy="noise+prompt"), ["evolver"]),
        (SearchSettings(strategy="noise"), []),
        (SearchSettings(depth=0), []),
    ],
)
def test_only_the_actors_that_a_search_asks_are_built(toy_choice, settings, seated):
    actors = build_actors(toy_choice, settings)
    seats = ("corrector", "evolver", "writer")
    assert [seat for seat in seats if getattr(actors, seat) is not None] == seated


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": "gone"}, "no model named 'gone'.*miniature"),
        ({"model": "/gone/too/far"}, "nor a folder"),
        ({"verifier": "gone"}, "no verifier named 'gone'.*exact, noisy"),
        ({"writer": "gone"}, "no writer named 'gone'.*template"),
        ({"evolver": "gone"}, "no evolver named 'gone'.*rules"),
        ({"lora": "gone.safetensors"}, "no LoRA gone.safetensors"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(toy_choice, change, expected):
    with pytest.raises(InputError, match=expected):
        build_actors(replace(toy_choice, **change), SearchSettings())


def flux_folder(folder):
    """A folder that says that it holds a FLUX.1."""
    folder.mkdir(exist_ok=True)
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    return folder


def test_a_folder_without_a_corrector_cannot_correct(toy_choice, tmp_path):
    flux_folder(tmp_path)
    choice = replace(toy_choice, model=str(tmp_path))
    with pytest.raises(InputError, match="Give its LoRA with --lora FILE"):
        build_actors(choice, SearchSettings())


def test_a_model_is_known_by_its_weights_wherever_it_lies(tmp_path):
    for name in ("here", "there"):
        (flux_folder(tmp_path / name) / "transformer").mkdir()
        (tmp_path / name / "transformer" / "weights.safetensors").write_bytes(b"1234")
    (tmp_path / "there" / ".DS_Store").write_bytes(b"the Finder was here")
    (tmp_path / "there" / "transformer" / "._weights.safetensors").write_bytes(b"macOS")
    (tmp_path / "there" / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / "there" / ".cache" / "huggingface" / "weights.metadata").write_text("a time")
    here, there = (identity(ActorChoice(str(tmp_path / name))) for name in ("here", "there"))
    assert here == there
    (tmp_path / "there" / "transformer" / "weights.safetensors").write_bytes(b"1235")
    assert identity(ActorChoice(str(tmp_path / "there"))) != here


def test_a_lora_is_part_of_the_identity(tmp_path):
    lora = tmp_path / "lora.safetensors"
    lora.write_bytes(b"1")
    assert identity(ActorChoice(lora=str(lora)))["lora"] == digest(lora)
    assert identity(ActorChoice())["lora"] == ""
