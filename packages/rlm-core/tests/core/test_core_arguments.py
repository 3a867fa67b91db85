"""An invalid call gets a result that says what is valid, and the run continues."""

from __future__ import annotations

import pytest
from rlm.core.budget import Stop
from rlm.core.messages import ToolCall, ToolResult
from rlm.errors import ToolError
from rlm.text.clip import clip
from rlm_testkit.fakes import SYSTEM, TASK, FakeTool, ScriptedModel, call, open_agent, raw_call, says

IPYTHON = "It takes ipython(code: string, [timeout: number])."


async def answer_to(wrong: ToolCall, *tools: FakeTool, finish: str = "") -> str:
    """Return the result that the model gets for an invalid call. Check that the run continues."""
    model = ScriptedModel(says("", wrong, finish=finish), says("sorry"))
    agent, _ = open_agent(model, *tools)
    result = await agent.run(SYSTEM, TASK)
    reported = model.seen[1].messages[-1]
    assert isinstance(reported, ToolResult)
    assert (result.answer, result.stop, reported.call, reported.ok) == ("sorry", Stop.DONE, wrong, False)
    return reported.content


@pytest.mark.parametrize("written", ["null", "42", "[]", '"s"', "true", '"{\\"code\\": \\"1\\"}"'])
async def test_arguments_that_are_not_an_object_are_answered_with_the_usage(written: str) -> None:
    tool = FakeTool()
    reported = await answer_to(raw_call("ipython", written), tool)
    assert reported == f"The arguments of ipython must be one JSON object. {IPYTHON} You wrote: {written}"
    assert tool.calls == []


@pytest.mark.parametrize(
    "written",
    ["", "code", '{"code": "1"', '{"code": "1"}{"code": "1"}', "{'code': '1'}", "[" * 100_000, '{"code": NaN}'],
)
async def test_arguments_that_are_not_json_are_answered_with_the_usage(written: str) -> None:
    tool = FakeTool()
    reported = await answer_to(raw_call("ipython", written), tool)
    assert reported.startswith("The arguments of ipython are not JSON (")
    assert reported.partition(f" {IPYTHON} You wrote: ")[2] == clip(written, 300)
    assert tool.calls == []


@pytest.mark.parametrize("finish", ["length", "MAX_TOKENS", "max_output_tokens"])
@pytest.mark.parametrize("written", ["", '{"code": "1', '{"code": "1"'])
async def test_arguments_that_the_length_limit_cut_off_are_answered_with_that(written: str, finish: str) -> None:
    tool = FakeTool()
    reported = await answer_to(raw_call("ipython", written), tool, finish=finish)
    assert reported.startswith(
        "The arguments of ipython are incomplete: your message was cut off at the provider's length"
    )
    assert reported.endswith(f"several calls. {IPYTHON} You wrote: {written}")
    assert tool.calls == []


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({}, "the argument 'code' is missing."),
        ({"timeout": 3}, "the argument 'code' is missing."),
        ({"cod": "1"}, "unknown argument 'cod', did you mean 'code'?"),
        ({"code": "1", "time_out": 3}, "unknown argument 'time_out', did you mean 'timeout'?"),
        ({"code": "1", "xyz": 3}, "unknown argument 'xyz'."),
        ({"code": 1}, "'code' must be of type string, not int."),
        ({"code": None}, "'code' must be of type string, not NoneType."),
        ({"code": "1", "timeout": "3 s"}, "'timeout' must be of type number, not str."),
        ({"code": "1", "timeout": "NaN"}, "'timeout' must be of type number, not str."),
        ({"code": "1", "timeout": True}, "'timeout' must be of type number, not bool."),
    ],
)
async def test_wrong_arguments_are_named_with_the_right_ones(arguments: dict[str, object], wrong: str) -> None:
    tool = FakeTool()
    assert await answer_to(call("ipython", **arguments), tool) == f"ipython: {wrong} {IPYTHON}"
    assert tool.calls == []


@pytest.mark.parametrize(
    ("kind", "fitting", "unfitting"),
    [
        ("string", ["", "s"], [1, None, True, [], {}]),
        ("integer", [0, -3, 10**30], ["1.5", "one", "", 1.5, True, None]),
        ("number", [0, 1.5], ["x", "true", False, None]),
        ("boolean", [True, False], [0, 1, "yes", None]),
    ],
)
async def test_each_json_type_accepts_only_its_own_values(
    kind: str, fitting: list[object], unfitting: list[object]
) -> None:
    for value in fitting:
        tool = FakeTool("t", it=kind)
        agent, _ = open_agent(ScriptedModel(says("", call("t", it=value)), says("ok")), tool)
        await agent.run(SYSTEM, TASK)
        assert tool.calls == [{"it": value}]
    for value in unfitting:
        assert f"must be of type {kind}" in await answer_to(call("t", it=value), FakeTool("t", it=kind))


async def test_optional_arguments_may_be_left_out() -> None:
    tool = FakeTool()
    agent, _ = open_agent(ScriptedModel(says("", call(code="1"), call(code="2", timeout=1.5)), says("ok")), tool)
    await agent.run(SYSTEM, TASK)
    assert tool.calls == [{"code": "1"}, {"code": "2", "timeout": 1.5}]


@pytest.mark.parametrize(
    ("kind", "written", "meant"),
    [
        ("number", "10", 10),
        ("number", " 1.5 ", 1.5),
        ("number", "1e2", 100.0),
        ("integer", "7", 7),
        ("integer", 7.0, 7),
        ("boolean", "true", True),
        ("boolean", "False", False),
        ("string", "10", "10"),
    ],
)
async def test_a_value_in_a_string_is_converted(kind: str, written: object, meant: object) -> None:
    tool = FakeTool("t", it=kind)
    agent, _ = open_agent(ScriptedModel(says("", call("t", it=written, other=None)), says("ok")), tool)
    await agent.run(SYSTEM, TASK)
    assert tool.calls == [{"it": meant}]
    assert type(tool.calls[0]["it"]) is type(meant)


async def test_null_is_an_argument_that_is_not_given() -> None:
    tool = FakeTool()
    agent, _ = open_agent(ScriptedModel(says("", call(code="1", timeout=None)), says("ok")), tool)
    await agent.run(SYSTEM, TASK)
    assert tool.calls == [{"code": "1"}]


async def test_an_unknown_tool_is_answered_with_the_existing_tools() -> None:
    reported = await answer_to(call("python", code="1"), FakeTool("ipython"), FakeTool("bash"))
    assert reported == "There is no tool 'python'. The tools are: ipython, bash."


async def test_a_call_without_any_tools_is_answered_too() -> None:
    assert await answer_to(call("ipython", code="1")) == "There is no tool 'ipython'. The tools are: none."


async def test_a_tool_may_raise_an_error_that_the_model_can_fix() -> None:
    assert await answer_to(call(code="1"), FakeTool("ipython", ToolError("no such file"))) == "no such file"
