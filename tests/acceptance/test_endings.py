"""behaviour.md, How a run ends: stop reasons, exit codes, partial answers, compaction, retries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rlm_testkit import law
from rlm_testkit.cli import Done, Rlm
from rlm_testkit.faults import OVERFLOWS
from rlm_testkit.scripted import (
    Answer,
    Request,
    Script,
    Scripted,
    always,
    call,
    calls,
    completion,
    error,
    half,
    html,
    reset,
    text,
    usage,
)
from rlm_testkit.waiting import until
from rlm_testkit.watched import watched

Make = Callable[[Scripted], Rlm]


LOOK = ("bash", {"command": "echo 1"})


def play(rlm: Make, *script: Answer | Script, failed: int = 0, **env: str) -> tuple[Done, Scripted]:
    """A run with any end. It shows no traceback, and its journal obeys the law. It has only `bash`, so it starts no
    kernel.
    """
    with Scripted(*script) as server:
        done = rlm(server)("go", **{"RLM_TOOLS": "bash"} | env)
    law.check(done.session, server, failed=failed)
    assert "Traceback" not in done.err
    return done, server


def ending(done: Done) -> tuple[int, str, str, str]:
    """Exit code, stdout, status and stop reason."""
    return done.code, done.out, done.session.meta["status"], done.session.meta["stop_reason"]


# ---- stop reasons


def test_a_message_without_calls_is_the_answer(rlm: Make) -> None:
    done, _ = play(rlm, calls(LOOK, content="Let me look."), text("It is one."))
    assert (0, "It is one.\n", "done", "done") == ending(done)
    assert "It is one." == done.session.meta["answer_preview"]


@pytest.mark.parametrize(
    ("limit", "stop"), [({"RLM_MAX_TURNS": "1"}, "max_turns"), ({"RLM_MAX_TOKENS": "10"}, "token_budget")]
)
def test_at_a_limit_one_last_request_asks_for_the_answer_and_every_call_has_its_result(
    rlm: Make, limit: dict[str, str], stop: str
) -> None:
    turn = calls(LOOK, LOOK, content="Let me look.")
    done, server = play(rlm, turn, text("about one"), failed=0, **limit)
    assert (3, "about one\n", "limit", stop) == ending(done)
    assert "1\n" == done.session.results[0]
    first, last = server.requests
    assert (first.body["tools"], "none") == (last.body["tools"], last.body["tool_choice"])
    assert f"You have reached a limit of this run ({stop})" in last.last
    assert f"limit reached: {stop}; the model is asked for its answer" in done.err
    assert f"stopped: {stop}" in done.err


@pytest.mark.parametrize("last", [calls(LOOK), error(400, "no more"), None])
def test_without_a_last_answer_the_newest_text_is_the_partial_answer(rlm: Make, last: Answer | None) -> None:
    turn = calls(LOOK, content="Let me look.")
    env = {} if last else {"RLM_NO_FINAL_ANSWER": "1"}
    failed = last is not None and last.status == 400
    done, server = play(rlm, turn, last or text("never"), failed=failed, RLM_MAX_TURNS="1", **env)
    assert (3, "Let me look.\n", "limit", "max_turns") == ending(done)
    assert (2 if last else 1) == len(server.requests)
    assert failed == ("could not be asked for its answer at the limit: 400 Bad Request: no more" in done.err)


def test_when_the_time_is_nearly_over_the_cell_is_interrupted_and_the_answer_requested(rlm: Make) -> None:
    done, server = play(rlm, call("bash", command="sleep 600"), text("about one"), RLM_TIMEOUT="6")
    assert (3, "about one\n", "limit", "timeout") == ending(done)
    assert "the time limit of this run has expired" in server.requests[1].last
    assert "--timeout 12" in done.err


def test_a_text_cut_off_at_the_length_limit_is_continued(rlm: Make) -> None:
    done, server = play(rlm, text("one, ", "length"), text("two, ", "length"), text("three"))
    assert (0, "one, two, three\n", "done", "done") == ending(done)
    assert "Go on exactly where it stopped" in server.requests[1].last


@pytest.mark.parametrize("limit", [{"RLM_MAX_TURNS": "2"}, {"RLM_MAX_TOKENS": "20"}])
def test_a_text_cut_off_with_no_room_left_is_completed(rlm: Make, limit: dict[str, str]) -> None:
    done, server = play(
        rlm, text("one, ", "length"), text("two, ", "length"), text("three", "length"), failed=0, **limit
    )
    assert (3, "one, two, three\n", "limit", "length") == ending(done)
    assert "finish your answer" in server.requests[2].last
    assert "stopped: length" in done.err


def test_nothing_cut_off_at_the_length_limit_ends_the_run(rlm: Make) -> None:
    turn = calls(LOOK, content="So far.")
    done, _ = play(rlm, turn, text("", "length"), text("what I have"))
    assert (3, "what I have\n", "limit", "length") == ending(done)


def test_a_filtered_text_is_not_an_answer(rlm: Make) -> None:
    done, _ = play(rlm, text("so f", "content_filter"))
    assert (3, "so f\n", "limit", "content_filter") == ending(done)


def test_an_empty_text_is_not_an_answer(rlm: Make) -> None:
    done, server = play(rlm, *map(text, ["", " \n", None, ""]), failed=4)
    assert (1, "", "error", "error") == ending(done)
    assert "rlm: The model sent an empty message (4 times). Try again, or try another model." in done.err
    assert [False, True, False, True] == [request.streamed for request in server.requests]


def test_a_refusal_is_the_answer(rlm: Make) -> None:
    done, _ = play(rlm, text(None, refusal="I will not."))
    assert (0, "I will not.\n", "done", "done") == ending(done)


# ---- the provider says that it is too long


def test_every_known_error_text_for_too_long_cuts_the_large_result_and_is_tried_again(rlm: Make) -> None:
    """One run: the result of each turn is refused once, each time with another error text."""

    def script(request: Request) -> Answer:
        if len(request.last) > 20_000:
            return error(*OVERFLOWS[request.turn - 1])
        return call("bash", command="printf %50000d 0") if request.turn < len(OVERFLOWS) else text("end")

    done, server = play(rlm, script, failed=len(OVERFLOWS), RLM_MAX_TURNS="99")
    assert (0, "end\n", "done", "done") == ending(done)
    assert done.err.count("context too long: the newest result was cut") == len(OVERFLOWS)
    cut = [message["content"] for message in server.requests[-1].messages if message["role"] == "tool"]
    assert all(len(content) < 5_000 and "characters left out" in content for content in cut)
    assert len(OVERFLOWS) == len(cut)
    assert not [record for record in done.session.records if record["type"] == "retry"]


def test_a_context_that_is_still_too_large_is_compacted(rlm: Make) -> None:
    def script(request: Request) -> Answer:
        if sum(len(message["content"] or "") for message in request.messages) > 20_000:
            return error(413, "Request Entity Too Large")
        if request.body.get("tool_choice") == "none":
            return text("made short")
        return text("end") if "made short" in str(request.messages) else call("bash", command="printf %6000d 0")

    done, server = play(rlm, script, failed=2)
    assert (0, "end\n", "done", "done") == ending(done)
    assert "go" == server.requests[-1].messages[1]["content"]
    assert "context compacted" in done.err


def test_a_context_that_cannot_be_made_to_fit_is_a_stop(rlm: Make) -> None:
    done, server = play(rlm, always(error(413, "Request Entity Too Large")), failed=1)
    assert (3, "", "limit", "context_limit") == ending(done)
    assert 1 == len(server.requests)


def test_a_result_that_never_fits_is_a_stop_with_the_partial_answer(rlm: Make) -> None:
    first = calls(("bash", {"command": "printf %50000d 0"}), content="Let me look.")
    done, server = play(rlm, lambda request: error(413, "no") if request.turn else first, failed=2)
    assert (3, "Let me look.\n", "limit", "context_limit") == ending(done)
    assert 3 == len(server.requests), "the request itself, and the request with the cut result; there is no third way"


# ---- compaction

LARGE = usage(5_000, 10)
CELLS = ("x = 'kept'", "print('two')", "print('three')")


def compacting(rlm: Make, *rest: Answer, failed: int = 0) -> tuple[Done, Scripted]:
    """Three turns, of which the last one makes the prompt large; then `rest`."""
    counts = (usage(100, 10), usage(200, 10), LARGE)
    turns = [calls(("ipython", {"code": code}), usage=count) for code, count in zip(CELLS, counts, strict=True)]
    return play(rlm, *turns, *rest, failed=failed, RLM_SUMMARIZE_AT_TOKENS="4000", RLM_TOOLS="ipython")


def test_a_compaction_is_announced_and_keeps_the_important_messages(rlm: Make) -> None:
    done, server = compacting(rlm, text("x is 'kept'"), call("ipython", code="print(x)"), text("end"))
    assert (0, "end\n", "done", "done") == ending(done)
    assert "context compacted: turn 1 summarised" in done.err
    before, asked, after, _ = server.requests[2:]
    assert before.body["tools"] == asked.body["tools"], "the tools must be the same"
    assert "none" == asked.body["tool_choice"]
    assert before.messages[:2] == after.messages[:2], "the system prompt and the task must be unchanged"
    second, newest = (message["content"] for message in after.messages if message["role"] == "tool")
    assert "two\n" == second
    result, _, summary = newest.partition("\n\n\n")
    assert "three" == result
    assert "x is 'kept'" in summary, "joined to the result: strict templates accept no user message after it"
    assert "tool" == after.messages[-1]["role"]
    assert "kept\n" == done.session.results[-1], "the kernel keeps its variables"
    assert 1 == done.session.meta["metrics"]["compactions"]
    assert (5, 60) == (done.session.meta["turns"], done.session.meta["usage"]["completion_tokens"])


@pytest.mark.parametrize(
    ("useless", "failed"), [([text(" ")] * 4, 4), ([text("cut of", "length")], 0), ([call("ipython", code="1")], 0)]
)
def test_an_empty_or_cut_off_summary_changes_nothing(rlm: Make, useless: list[Answer], failed: int) -> None:
    done, server = compacting(rlm, *useless, text("end"), failed=failed)
    assert (0, "end\n", "done", "done") == ending(done)
    before, *_, after = server.requests[2:]
    assert before.messages == after.messages[: len(before.messages)]
    assert ["[no output]", "two\n", "three\n"] == [m["content"] for m in after.messages if m["role"] == "tool"]


# ---- the provider fails


def test_a_failing_provider_is_tried_again_with_a_notice(rlm: Make) -> None:
    done, _ = play(rlm, error(503, "Overloaded"), text("ok"), failed=1)
    assert (0, "ok\n", "done", "done") == ending(done)
    assert "retry in" in done.err
    assert "503 Service Unavailable: Overloaded" in done.err
    (record,) = [record for record in done.session.records if record["type"] == "retry"]
    assert ("503 Service Unavailable: Overloaded", 1) == (record["reason"], record["attempt"])
    assert record["wait"] > 0


@pytest.mark.parametrize("run", [Rlm.__call__, watched], ids=["whole", "streamed"])
def test_a_temporary_error_is_tried_again(rlm: Make, run: Callable[..., Done]) -> None:
    """One run: before each of its turns the provider fails in another way.

    If a reply cannot be read, the other form is requested, streamed or whole, and used from then on.
    """
    faults = [
        error(408, "timed out"),
        error(409, "locked"),
        error(429, "slow down", retry_after="0.1"),
        error(500, "internal"),
        html(502, "Bad gateway"),
        completion(..., error={"message": "upstream failed"}),
        reset(),
        half(text("x" * 500)),
    ]
    passed = 2 * len(faults)
    unreadable = [html(200), completion([]), completion(None)]
    faults += unreadable
    answers = [answer for fault in faults for answer in (fault, calls(LOOK))]
    with Scripted(*answers, text("end")) as server:
        done = run(rlm(server), "go", RLM_TOOLS="bash")
    law.check(done.session, server, failed=len(faults))
    wanted, other = run is watched, run is not watched
    expected = [wanted] * passed + [wanted, other] + [other, wanted] * 2 + [other]
    assert expected == [request.streamed for request in server.requests]
    assert (0, "end\n", "done", "done") == ending(done)
    assert len(faults) == done.session.meta["metrics"]["retries"]


REFUSALS = [
    (4, error(401, "Incorrect API key provided", "invalid_api_key"), "Set or correct RLM_API_KEY"),
    (4, error(403, "Country not supported"), "403 Forbidden: Country not supported."),
    (1, error(404, "The model `gpt-9` does not exist", "model_not_found"), "Check RLM_MODEL"),
    (1, error(429, "You exceeded your current quota", "insufficient_quota"), "billing"),
    (1, error(400, "Unknown parameter: 'foo'."), "400 Bad Request: Unknown parameter: 'foo'."),
    (75, error(429, "slow down", retry_after="9000"), "it asks for a pause of 9000 s"),
]


@pytest.mark.parametrize(("code", "answer", "says"), REFUSALS)
def test_a_permanent_error_is_reported_at_once(rlm: Make, code: int, answer: Answer, says: str) -> None:
    done, server = play(rlm, always(answer), failed=1)
    assert (code, "", "error", "error") == ending(done)
    assert 1 == len(server.requests)
    reported = [line for line in done.err.splitlines() if line.startswith("rlm: ")]
    assert 1 == len(reported)
    assert says in reported[0]
    assert reported[0].removeprefix("rlm: ") == done.session.records[-1]["error"], "the journal has the reason, too"


def test_a_page_not_found_is_tried_a_few_times(rlm: Make) -> None:
    done, server = play(rlm, always(html(404, "Tunnel not found")), failed=4)
    assert (1, "", "error", "error") == ending(done)
    assert 4 == len(server.requests)
    assert "Check RLM_BASE_URL" in done.err


def test_a_provider_that_stays_down_is_tried_for_minutes(rlm: Make) -> None:
    """How it ends after 300 s, with exit code 75, is tested with a shorter budget in packages/rlm-core/tests/models."""
    with Scripted(always(error(503, "Overloaded"))) as server:
        command = rlm(server)
        process = command.start("go", RLM_TOOLS="")
        until(lambda: len(server.requests) > 3)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert 143 == process.returncode
    assert b"retry in" in err
    assert b"503 Service Unavailable: Overloaded" in err


def test_an_error_after_some_turns_leaves_the_newest_text(rlm: Make) -> None:
    done, _ = play(rlm, calls(LOOK, content="Let me look."), error(400, "no"), failed=1)
    assert (1, "Let me look.\n", "error", "error") == ending(done)


def test_a_traceback_is_shown_when_asked_for(rlm: Make) -> None:
    with Scripted(error(400, "no")) as server:
        done = rlm(server)("go", RLM_DEBUG="1", RLM_TOOLS="")
    assert 1 == done.code
    assert "Traceback" in done.err
    assert "rlm: 400 Bad Request: no" in done.err
