"""`--confirm`: one question at a time; and when the bell rings."""

from __future__ import annotations

import asyncio
from typing import Any

from rlm.config.environment import takes_notifications
from rlm.config.settings import Config
from rlm.host.agent_tool import Approval
from rlm.repl.questions import Questions
from rlm.repl.screen import LONG_TURN, ending, rings

CALL: dict[str, Any] = {"code": "1", "timeout": 3}


async def open_question(questions: Questions, arguments: dict[str, Any] | None = None) -> asyncio.Task[Approval]:
    task = asyncio.create_task(questions.ask("ipython", arguments or CALL))
    await asyncio.sleep(0)
    assert questions.open
    return task


async def test_each_answer_to_a_question_has_its_effect() -> None:
    put: list[str] = []
    questions = Questions(lambda tool, arguments: None, put.append)
    for text, approval in [
        ("y", Approval(ok=True)),
        (" YES ", Approval(ok=True)),
        ("n", Approval(ok=False)),
        ("no  use uv ", Approval(ok=False, reason="use uv")),
    ]:
        task = await open_question(questions)
        assert questions.answer(text)
        assert await task == approval
        assert not questions.open
    task = await open_question(questions)
    for text in ("", "what?", "yes, but", "nope", "always look"):
        assert not questions.answer(text), "an unknown answer is asked again"
    assert questions.answer("y")
    assert (await task).ok
    task = await open_question(questions)
    assert questions.answer("e")
    assert (put, questions.editing) == (["1"], True)
    assert questions.answer("2\n3")
    assert await task == Approval(ok=True, arguments={"code": "2\n3", "timeout": 3})
    task = await open_question(questions, {"path": "a"})
    assert not questions.answer("e"), "there is nothing to edit"
    assert questions.answer("a")
    assert (await task).ok
    assert (await questions.ask("bash", {})).ok, "from then on it is always allowed"


async def test_one_question_at_a_time_and_a_call_that_is_cancelled_asks_no_more() -> None:
    written: list[str] = []
    questions = Questions(lambda tool, arguments: written.append(tool), lambda text: None)
    first = await open_question(questions)
    second = asyncio.create_task(questions.ask("bash", {}))
    await asyncio.sleep(0)
    assert written == ["ipython"]
    first.cancel()
    await asyncio.wait({first})
    await asyncio.sleep(0)
    assert written == ["ipython", "bash"]
    assert questions.answer("n")
    assert not (await second).ok


def test_the_bell_rings_after_a_long_turn_unless_it_is_switched_off() -> None:
    assert [rings(Config(), took) for took in (0.0, LONG_TURN)] == [False, True]
    assert not rings(Config(bell=False), LONG_TURN)


def test_a_terminal_that_is_known_to_take_them_gets_a_notification_in_place_of_the_bell() -> None:
    known = {"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}
    others: tuple[dict[str, str], ...] = (
        {},
        {"TERM": "xterm-256color"},
        known | {"TMUX": "/tmp/x"},
        known | {"TERM": "screen"},
        known | {"TERM": "dumb"},
    )
    assert takes_notifications(known)
    assert not any(map(takes_notifications, others))
    assert [ending(75.0, notify=False), ending(75.0, notify=True)] == [
        "\a",
        "\x1b]9;rlm: the turn has ended after 1m 15s\x1b\\",
    ]
