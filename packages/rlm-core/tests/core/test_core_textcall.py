"""A call that the model wrote as text is no answer."""

from __future__ import annotations

import pytest
from fakes import SYSTEM, TASK, FakeTool, ScriptedModel, open_agent, says
from rlm.agent import REMINDER
from rlm.budget import Stop
from rlm.errors import ModelError
from rlm.messages import Kind, User
from rlm.textcall import is_call

CALL = '{"name": "ipython", "arguments": {"code": "print(1)"}}'
CALLS = [
    f"<tool_call>\n{CALL}\n</tool_call>",
    f"I will run it.\n\n<tool_call>\n{CALL}\n</tool_call>",
    f"<think>Shall I?</think>\n<tool_call>{CALL}</tool_call>",
    "<tool_call>ipython\n<arg_key>code</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
    '<function=ipython>{"code": "1"}</function>',
    "<function=ipython>\n<parameter=code>\n1\n</parameter>\n</function>",
    f"[TOOL_CALLS][{CALL}]",
    '[TOOL_CALLS]ipython[ARGS]{"code": "1"}',
    f"<|python_tag|>{CALL}",
    "<|python_tag|>print(1)",
    f"functools[{CALL}]",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>ipython",
    '<|tool_calls_section_begin|><|tool_call_begin|>functions.ipython:0<|tool_call_argument_begin|>{"code": "1"}',
    '<|channel|>commentary to=functions.ipython <|constrain|>json<|message|>{"code":"1"}',
    '<function_calls>\n<invoke name="ipython">\n<parameter name="code">1</parameter>\n</invoke>\n</function_calls>',
    '<minimax:tool_call>\n<invoke name="ipython">\n</invoke>\n</minimax:tool_call>',
    CALL,
    f"```json\n{CALL}\n```",
    f"[{CALL}]",
    f'{{"tool_calls": [{CALL}]}}',
    '{"type": "function", "name": "ipython", "parameters": {"code": "1"}}',
    '{"type": "function", "function": {"name": "ipython", "arguments": {"code": "1"}}}',
    '{"tool": "ipython", "args": {"code": "1"}}',
    '{"name": "functions.ipython", "arguments": "{}"}',
    '{"name": "another_tool", "arguments": {"x": 1}}',
    'ipython({"code": "1"})',
    "functions.ipython(code='1')",
    "[ipython(code='1')]",
]
ANSWERS = [
    "",
    "Done.",
    "To call it, a model writes `<tool_call>` and the name, such as ipython.",
    f"A model writes this:\n```\n<tool_call>\n{CALL}\n</tool_call>\n```\nThen the server parses it.",
    "<tool_call> is the mark that Qwen uses."[11:],
    "1 + 1 = 2, as ipython(code='1+1') said.",
    '{"name": "Ada", "born": 1815}',
    '{"name": "ipython"}',
    '{"name": "", "arguments": {}}',
    '{"action": "deploy", "input": "x"}',
    "[]",
    "[1, 2]",
    "42",
    "{'name': 'ipython'}",
    "bash(1)",
]


@pytest.mark.parametrize("text", CALLS)
def test_a_call_is_told_in_the_form_of_every_family(text: str) -> None:
    assert is_call(text, ["ipython", "bash"])


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_may_speak_of_calls_and_be_json(text: str) -> None:
    assert not is_call(text, ["ipython", "bash"])


async def test_the_model_is_reminded_once_and_goes_on() -> None:
    model = ScriptedModel(says(CALL), says("end"))
    agent, _ = open_agent(model, FakeTool())
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("end", Stop.DONE)
    assert model.seen[1].messages[-1] == User(REMINDER, Kind.NOTE)


async def test_a_model_that_goes_on_writing_calls_is_an_error_that_says_what_to_do() -> None:
    agent, _ = open_agent(ScriptedModel(says(CALL), says(CALL)), FakeTool())
    with pytest.raises(ModelError, match="tool-call-parser"):
        await agent.run(SYSTEM, TASK)


async def test_without_tools_every_text_is_an_answer() -> None:
    agent, _ = open_agent(ScriptedModel(says(CALL)))
    assert (await agent.run(SYSTEM, TASK)).answer == CALL
