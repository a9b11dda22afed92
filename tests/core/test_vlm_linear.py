"""What reads models' answers and servers' bodies takes time in proportion to their length."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from pydantic import BaseModel, ConfigDict

from reflectionflow_core.vlm import (
    answers,
    closed,
    fitting,
    likelihoods,
    redaction,
    replies,
    server_errors,
    wire,
)
from reflectionflow_core.vlm.texts import quoted, tidy

SHORT, TIMES = 500, 10  # characters; ten times as long may take up to twenty times the time
FREE = 0.005  # seconds of a processor; less is not compared
RED = redaction.Redaction(["plantedKey-0123456789abcdef"])
SENT = {"messages": [{"role": "system"}], "n": 2, "logprobs": True, "top_logprobs": 20}
# Repeated, each is the beginning of something for one of the readers' patterns.
KINDS = r"""
{ [ {"a": {"a":[ {"a":{"b":1}, " \ {" {'a':' {a: /* // {# {/* {“a”： {“ “ „ 「 « '} "} ": ： ，
{"a":1, [1, [[], {"a":"b\ {"a":"b"" {"a":"b"/* {"a":1/ {"a":1/2 {} {}, {"mark":"9",
{"mark":9,"why":"a"} {"mark":9,"why":" {"answer":{"mark":9, 9 1e - 1/ 9/ 9, a aB3 İ ſ 是 答案
<think> </think> <think></think> <think>{ [THINK] <|channel|> <|channel|>a <|channel|>a<|message|>
<|channel|>final<|message|> < <| <response> <|begin_of_box|> <answer> answer: answer:* \boxed{
yes no/ no, * ** ( 。 ! \u0041 \\u0041 \n %41 &#65; &#x41 &# data: data:{} sk- sk-a AKIA Bearer:
"""
SPACED = (
    *(" ", "\n", "\t \n", "\r\n", "{ ", "{//x\n", "\n<think>x", "\nyes.\n", "yes or ", "no no "),
    *("answer is ", "role system ", "system ", "image_url ", "not support ", "no endpoints "),
    *("try again in ", "retry after ", "retry_delay 1", "<|channel|>  ", "9 out of ", "api key "),
    *(
        "data: {}\n",
        'data:{"choices":[{"delta":{"content":"a"}}]}\n',
        '{"a": 1 / ',
        "context size ",
    ),
)


class Marked(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mark: float
    why: str


class Listed(BaseModel):
    items: list[Marked]


def as_tokens(text: str) -> object:
    tokens = [likelihoods.AnswerToken(sign, ()) for sign in text]
    return likelihoods.from_answer(tokens, ("yes", "no"))


def as_error(text: str) -> object:
    error = server_errors.error_of_status(429, text)
    return error.what, error.advice, error.may_pass, error.is_loading


def as_message(text: str) -> object:
    return replies.read(json.dumps({"choices": [{"message": {"content": text}}]}).encode())


READERS: dict[str, Callable[[str], object]] = {
    "object": lambda text: answers.parse(text, Marked),
    "objects in a list": lambda text: answers.parse('{"items": [' + text, Listed),
    "choice": lambda text: closed.said_choice(text, ("yes", "no")),
    "tokens": as_tokens,
    "one token": lambda text: closed.choice_index(text, ("yes", "no")),
    "number": lambda text: fitting.fitted({"mark": text, "why": ""}, Marked),
    "name": lambda text: fitting.fitted({text: 1}, Marked),
    "error": as_error,
    "body": lambda text: replies.read(text.encode()),
    "message": as_message,
    "refusal": lambda text: wire.refused_parameter(SENT, text),
    "redaction": RED.of,
    "name of a profile": redaction.could_be_a_key,
    "one line": tidy,
    "quotation": quoted,
}


def seconds(read: Callable[[str], object], text: str) -> float:
    """Of this thread alone: the machine may be busy."""
    began = time.thread_time()
    read(text)
    return time.thread_time() - began


@pytest.mark.parametrize("name", READERS)
def test_ten_times_the_text_takes_less_than_twenty_times_as_long(name: str) -> None:
    slow = []
    for part in (*KINDS.split(), *SPACED):
        short, long = ((part * length)[:length] for length in (SHORT, SHORT * TIMES))
        took = seconds(READERS[name], long)
        if took > FREE and took > 20 * min(seconds(READERS[name], short) for _ in range(3)):
            again = min(seconds(READERS[name], long) for _ in range(3))
            if again > 20 * min(seconds(READERS[name], short) for _ in range(3)):
                slow.append((part, again))
    assert not slow


def test_a_body_as_long_as_any_is_read_in_seconds_whatever_it_repeats() -> None:
    worst = max(
        (seconds(RED.of, part * (2**19 // len(part))), part) for part in ("\\", "&#", "%4", "\\u00")
    )
    assert worst[0] < 10, worst
    deep = '{"id":' * (answers.MAX_LENGTH // 6)
    assert seconds(READERS["object"], deep) < 5
