"""`rlm doctor`: says what is wrong and how to mend it, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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


def test_a_sandbox_is_tried_though_it_is_off(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        made = rlm(server)
        done = made("doctor")
    assert "✓ sandbox      off: what the model writes runs as you. --sandbox works here\n" in done.out
    assert [] == list(made.cwd.iterdir())


def test_the_sandbox_that_is_on_is_tried_and_its_kernel_too(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        made = rlm(server)
        done = made("doctor", "--sandbox")
    assert 0 == done.code
    assert "✓ kernel       starts and runs a cell\n" in done.out
    assert "✓ sandbox      bwrap works\n" in done.out
    assert [] == list(made.cwd.iterdir())


def test_a_sandbox_that_is_not_to_be_had_is_told_with_the_command_that_installs_it(rlm: Make, tmp_path: Path) -> None:
    with Scripted(text("never")) as server:
        made = rlm(server)
        on = made("doctor", RLM_SANDBOX="bwrap", PATH=str(tmp_path))
        off = made("doctor", PATH=str(tmp_path))
    assert [1, 0] == [on.code, off.code]
    assert "✗ sandbox      is not to be had\n" in on.out
    assert "Install it: apt-get install bubblewrap\n" in on.out
    assert "✗" not in off.out
    assert "Install it: apt-get install bubblewrap\n" in off.out
