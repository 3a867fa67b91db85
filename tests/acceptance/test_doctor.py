"""`rlm doctor`: says what is wrong and how to mend it, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from cli import Rlm
from scripted import Scripted, text

Make = Callable[[Scripted], Rlm]


def test_all_is_well(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        made = rlm(server)
        done = made("doctor")
    assert 0 == done.code
    assert "✗" not in done.out
    assert "starts and runs a cell" in done.out
    assert not (made.cwd / ".rlm").exists()


def test_each_thing_that_is_wrong_is_said_with_what_to_do(alone: Rlm) -> None:
    (alone.cwd / ".rlm").write_text("in the way")
    done = alone("doctor", "--home", "/proc/nowhere")
    assert 1 == done.code
    assert "OPENAI_API_KEY" in done.out
    assert "Set RLM_HOME" in done.out


def test_an_endpoint_that_does_not_answer_is_named_without_the_key(alone: Rlm) -> None:
    done = alone("doctor", RLM_BASE_URL="http://127.0.0.1:9/v1", RLM_API_KEY="sk-secret")
    assert 1 == done.code
    assert "http://127.0.0.1:9/v1 does not answer" in done.out
    assert "sk-secret" not in done.out + done.err


def test_a_model_that_the_endpoint_does_not_have_is_named(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        done = rlm(server)("doctor", "--model", "no-such-model")
    assert 1 == done.code
    assert "no-such-model" in done.out
    assert "RLM_MODEL" in done.out
