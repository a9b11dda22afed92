"""Servers as hosts run them: what each refuses, where each puts its answer, how each fails.

Every script has an oracle, which sees: a red picture is right, every other one is wrong. `as_if`
makes it blind, slow or thinking.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from plain_colours import is_of_the_check, seen
from vlm_server import Asked, Reply, refuses, says

DRAFT = '{"colour": "blue", "mark": 1}'
Script = Callable[[Asked], Reply]


@dataclass(frozen=True)
class Host:
    """A kind of host: its name, what is peculiar to it, and what is done about that."""

    name: str
    peculiar: str
    done: str
    script: Script


def completion(message: dict[str, Any], finish: str = "stop", **more: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return Reply(json.dumps({"choices": [{**choice, **more}]}).encode())


def wanted(asked: Asked) -> str:
    """The right answer: the form filled in where one is asked for, else a word."""
    if is_of_the_check(asked.text):
        return seen(asked.text, asked.pictures, "response_format" in asked.body)
    is_red = not asked.pictures or _is_red(asked.pictures[0])
    if (schema := _schema_of(asked)) is not None:
        return json.dumps(_filled(schema, schema, is_red))
    if "Answer with one letter" in asked.text:
        return "A"
    if "second" in asked.text:
        return "first" if is_red else "second"
    if "yes" not in asked.text.casefold() and not asked.text.rstrip().endswith("?"):
        return "add a red cup"  # an open question
    return "Yes" if is_red else "No"


def _is_red(url: str) -> bool:
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    red, _, blue = picture.resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    return red > blue


def _schema_of(asked: Asked) -> Any:
    form = asked.body.get("response_format", {})
    if "json_schema" in form:
        return form["json_schema"]["schema"]
    _, found, behind = asked.text.partition("JSON schema: ")
    return json.JSONDecoder().raw_decode(behind)[0] if found else None


def _filled(part: Any, schema: Any, is_red: bool, name: str = "") -> Any:
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    part = part.get("anyOf", [part])[0]
    if "enum" in part:
        return part["enum"][0]
    if part["type"] == "object":
        return {key: _filled(p, schema, is_red, key) for key, p in part["properties"].items()}
    if part["type"] == "array":
        return [_filled(part["items"], schema, is_red, name)] * max(1, part.get("minItems", 1))
    if part["type"] in ("number", "integer"):
        return min(9 if is_red else 1, part.get("maximum", 9))
    if part["type"] == "boolean":
        return is_red
    return {"colour": "red" if is_red else "blue", "prompt": "a red cup, large"}.get(name, "a cup")


def thinking(asked: Asked) -> bool:
    template = asked.body.get("chat_template_kwargs", {})
    return template.get("enable_thinking", True) and asked.body.get("reasoning_effort") != "none"


def room(asked: Asked) -> int:
    return asked.body.get("max_tokens") or asked.body["max_completion_tokens"]


def openai_reasoning(asked: Asked) -> Reply:
    body = asked.body
    if "max_tokens" in body:
        return refuses(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.")
    if body.get("temperature", 1) != 1:
        return refuses(400, "Unsupported value: 'temperature' does not support 0 with this model.")
    if "logprobs" in body:
        return refuses(403, "You are not allowed to request logprobs from this model.")
    for name in ("reasoning_effort", "chat_template_kwargs"):
        if name in body:
            return refuses(400, f"Unsupported value: '{name}'.")
    if room(asked) < 600:
        return says("", finish="length")
    return says(wanted(asked))


def openai_out_of_tokens(asked: Asked) -> Reply:
    if room(asked) < 600:
        words = "Could not finish the message because max_tokens or model output limit was reached."
        return refuses(400, words)
    return says(wanted(asked))


def gemini(asked: Asked) -> Reply:
    for name in ("seed", "logprobs", "chat_template_kwargs"):
        if name in asked.body:
            error = {"code": 400, "message": f'Unknown name "{name}": Cannot find field.'}
            return Reply(json.dumps([{"error": error}]).encode(), 400)
    if room(asked) < 600:
        return completion({}, "length")
    return says(wanted(asked))


def anthropic(asked: Asked) -> Reply:
    if asked.body.get("n", 1) > 1:
        return refuses(400, "`n` must be 1")
    if "response_format" in asked.body or "JSON" in asked.text:
        return says(f"Here it is:\n```json\n{wanted(asked)}\n```\nAnything else?")
    return says(f"**{wanted(asked)}**")


def ollama(asked: Asked) -> Reply:
    if asked.body.get("reasoning_effort") == "none":
        return says(wanted(asked))
    thought = {"content": "", "reasoning": "The user wants to know. No? " + DRAFT}
    return completion(thought, "length")


def lm_studio(asked: Asked) -> Reply:
    kind = asked.body.get("response_format", {}).get("type")
    if kind == "json_object":
        return refuses(400, "'response_format.type' must be 'json_schema' or 'text'")
    return says(wanted(asked))


def vllm_without_parser(asked: Asked) -> Reply:
    """Thoughts stand in the content and among the log-probabilities."""
    answer = wanted(asked)
    words = [answer]
    if thinking(asked):
        words = ["<think>", "No", ", ", DRAFT, " wait", "</think>", "\n\n", *words]
    words = words[: room(asked)]
    odds = {"Yes": ("Yes", "No"), "No": ("No", "Yes")}
    tops = [
        [(first, 0.9), (second, 0.1)] if word in odds else [(word, 1.0)]
        for word in words
        for first, second in [odds.get(word, (word, word))]
    ]
    tokens = [
        {"token": w, "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in top]}
        for w, top in zip(words, tops, strict=True)
    ]
    finish = "length" if words[-1] != answer else "stop"
    logprobs = {"content": tokens} if "logprobs" in asked.body else None
    return completion({"content": "".join(words)}, finish, logprobs=logprobs)


def vllm_that_always_thinks(asked: Asked) -> Reply:
    """Its template opens the thought, and no switch closes it."""
    if room(asked) < 600:
        return completion({"content": "Okay, the user wants"}, "length")
    return says(f"Okay, the user wants. No? {DRAFT}</think>\n\n{wanted(asked)}")


def five_logprobs(asked: Asked) -> Reply:
    if asked.body.get("top_logprobs", 0) > 5:
        return refuses(400, "top_logprobs must be less than or equal to 5")
    answer = wanted(asked)
    tops = {answer: math.log(0.9), "No" if answer == "Yes" else "Yes": math.log(0.1)}
    return says(answer, tops=tops if "logprobs" in asked.body else None)


def magistral(asked: Asked) -> Reply:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": f"No? {DRAFT}"}]}
    return completion({"content": [thought, {"type": "text", "text": wanted(asked)}]})


def without_system(asked: Asked) -> Reply:
    if asked.body["messages"][0]["role"] == "system":
        return refuses(400, "System role not supported")
    return says(wanted(asked))


def llama_cpp_grammar(asked: Asked) -> Reply:
    if asked.body.get("response_format", {}).get("type") == "json_schema":
        return refuses(400, "failed to parse grammar: maxLength 2000 too large")
    return says(wanted(asked))


def transformers_serve(asked: Asked) -> Reply:
    """It ignores samples, log-probabilities and forms, and thinks as its model does."""
    return says(f"<think>\nfirst {DRAFT}\n</think>\n{wanted(asked)}")


def as_a_tool(asked: Asked) -> Reply:
    function = {"name": "answer", "arguments": wanted(asked)}
    return completion({"content": None, "tool_calls": [{"type": "function", "function": function}]})


def as_a_stream(asked: Asked) -> Reply:
    parts = [{"choices": [{"delta": {"content": part}}]} for part in (wanted(asked), "")]
    lines = [f"data: {json.dumps(part)}\n\n" for part in parts]
    return Reply("".join([": processing\n\n", *lines, "data: [DONE]\n\n"]).encode())


def as_if(host: Host, kind: str) -> Script:
    """The host's script with an oracle that "sees", is "blind", "slow" or "thinking"."""

    def script(asked: Asked) -> Reply:
        if kind == "blind":
            return host.script(replace(asked, body=_with_red_pictures(asked)))
        reply = host.script(asked)
        if kind == "slow":
            return replace(reply, wait=0.03)
        return _with_thought(reply) if kind == "thinking" and thinking(asked) else reply

    return script


KINDS = ("sees", "blind", "slow", "thinking")
_RED = io.BytesIO()
Image.new("RGB", (8, 8), "red").save(_RED, "PNG")
RED_URL = f"data:image/png;base64,{base64.b64encode(_RED.getvalue()).decode()}"


def _with_red_pictures(asked: Asked) -> dict[str, Any]:
    """The request, with every picture a red one: the oracle hears that there is something."""
    body = json.loads(json.dumps(asked.body))
    for message in body["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image_url":
                part["image_url"]["url"] = RED_URL
    return body


def _with_thought(reply: Reply) -> Reply:
    """A draft before the answer; its log-probabilities would not fit any more."""
    if not reply.body.startswith(b"{"):
        return reply
    body = json.loads(reply.body)
    for choice in body.get("choices", ()):
        message = choice["message"]
        if isinstance(message.get("content"), str) and message["content"]:
            message["content"] = f"<think>\nNo? {DRAFT}\n</think>\n{message['content']}"
            choice.pop("logprobs", None)
    return replace(reply, body=json.dumps(body).encode())


HOSTS = [
    Host(
        "OpenAI, reasoning models",
        "`max_completion_tokens`, no temperature, no log-probabilities, thinks",
        "the refused fields are left out from then on; more tokens after the first cut; "
        "samples instead of probabilities",
        openai_reasoning,
    ),
    Host(
        "OpenAI, an answer that did not fit",
        "an error instead of a cut answer",
        "asked again with room for the thought",
        openai_out_of_tokens,
    ),
    Host(
        "Gemini",
        "errors as an array; no `seed`, no log-probabilities; empty when tokens run out",
        "as above",
        gemini,
    ),
    Host(
        "Anthropic's compatible address",
        "no `n`, prose around the object, bold answers",
        "one request a sample; the last object that fits is read",
        anthropic,
    ),
    Host(
        "Ollama",
        "thinks into `reasoning` and leaves the answer empty",
        "`reasoning_effort: none`, where it is taken",
        ollama,
    ),
    Host("LM Studio", "only `json_schema`", "its form is used", lm_studio),
    Host(
        "vLLM without a reasoning parser",
        "the thought stands in the answer and among the probabilities",
        "thinking is switched off by the template, else the token after the thought is weighed",
        vllm_without_parser,
    ),
    Host(
        "vLLM, a template that always thinks",
        "the thought is opened by the template and closed late",
        "what stands before `</think>` is never read",
        vllm_that_always_thinks,
    ),
    Host("five log-probabilities at most", "refuses 20", "five are asked for", five_logprobs),
    Host("Magistral", "the content is a list of thoughts and texts", "texts only", magistral),
    Host(
        "templates without a system role",
        "refuse it",
        "the text moves into the user's message",
        without_system,
    ),
    Host(
        "llama.cpp, old grammars",
        "refuses a long form",
        "asked for JSON in words",
        llama_cpp_grammar,
    ),
    Host(
        "`transformers serve`",
        "ignores samples, forms and probabilities, thinks",
        "one answer, without its thought",
        transformers_serve,
    ),
    Host(
        "a server that answers by a tool call",
        "the answer is in `arguments`",
        "read there",
        as_a_tool,
    ),
    Host("a server that streams unasked", "the answer comes in pieces", "joined", as_a_stream),
]
