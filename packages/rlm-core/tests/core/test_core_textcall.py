"""A call that the model wrote as text is not an answer."""

from __future__ import annotations

import pytest
from rlm.core.agent import REMINDER
from rlm.core.budget import Stop
from rlm.core.messages import Kind, User
from rlm.core.textcall import is_call
from rlm.errors import ModelError
from rlm_testkit.fakes import SYSTEM, TASK, FakeTool, ScriptedModel, open_agent, says

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
    # gpt-oss, with and without its special tokens
    '<|start|>assistant<|channel|>commentary to=functions.ipython <|constrain|>json<|message|>{"code":"1"}<|call|>',
    '<|start|>assistant<|channel|>commentary to=ipython <|constrain|>json<|message|>{"code":"1"}<|call|>',
    '<|start|>assistant to=functions.ipython<|channel|>commentary json<|message|>{"code":"1"}<|call|>',
    '<|channel|>commentary to=functions.ipython json<|message|>{"code":"1"}',
    'to=functions.ipython<|channel|>commentary json<|message|>{"code":"1"}',
    "<|channel|>analysis to=ipython code<|message|>1+1",
    '<|channel|>analysis<|message|>Run.<|end|><|start|>assistant<|channel|>commentary to=ipython <|message|>{"code":"1"}',
    'analysisWe run it.assistantcommentary to=functions.ipython json{"code":"1"}',
    'commentary to=functions.ipython json{"code":"1"}',
    # Gemini and Gemma
    "```tool_code\nprint(6*7)\n```",
    "Okay, I will compute it.\n```tool_code\nprint(6*7)\n```",
    "```tool_code\nipython(code='1')\n```\n```tool_code\nbash(command='ls')\n```",
    "<start_function_call>call:ipython{code:<escape>1<escape>}<end_function_call>",
    '<|tool_call>call:ipython{code:<|"|>1<|"|>}<tool_call|>',
    # ReAct
    'Thought: I run it.\nAction: ipython\nAction Input: {"code": "1"}',
    "Thought: I run it.\nAction: ipython\nAction Input: print(1)\nprint(2)",
    "Action: ipython\nAction Input:\n```python\nprint(1)\n```",
    "**Action:** `ipython`\n**Action Input:** 1+1",
    'Thought: so.\nAction:\n```json\n{"action": "ipython", "action_input": {"code": "1"}}\n```',
    'Action: ```json\n[{"tool_name": "ipython", "parameters": {"code": "1"}}]\n```',
    'Action: {"name": "ipython", "arguments": {"code": "1"}}',
    "Action: ipython(code='1')",
    'Tool: ipython\nArguments: {"code": "1"}',
    "Call: ipython(code='1')<bot_end>",
    "Thought 1: so.\nACTION 1: [ipython]\nACTION INPUT 1: 1+1",
    "### Action: ipython\nAction Input: 1",
    "```tool_code\nprint(6*7)",
    "I need the product of 6 and 7.\n\n```tool_code\nprint(6*7)\n```",
    f"[TOOL_REQUEST]{CALL}[END_TOOL_REQUEST]",
    f"<tools>{CALL}</tools>",
    f"**Tool call:**\n```json\n{CALL}\n```",
    f"TOOL_CALL: {CALL}",
    f"<|function_call|>{CALL}",
    f"```{CALL}```",
    "<tool_name>ipython</tool_name>\n<code>1</code>",
    'ipython\n```json\n{"code":"1"}\n```',
    "print(default_api.ipython(code='1'))",
    "result = await ipython(code='1')",
    '{"functionCall": {"name": "ipython", "args": {}}}',
    '{"tool_name": "ipython", "params": {"code": "1"}}',
    '✿FUNCTION✿: ipython\n✿ARGS✿: {"code": "1"}',
    '[tool_call: ipython({"code": "1"})]',
    # Cohere, Nemotron, MiniMax, Seed-OSS, Step, DeepSeek, Jamba, Grok, Phi, LFM2, Granite
    '<|START_THINKING|>Run.<|END_THINKING|><|START_ACTION|>[{"tool_name": "ipython", "parameters": {}}]<|END_ACTION|>',
    f"<TOOLCALL>[{CALL}]</TOOLCALL>",
    f"<tool_calls>\n{CALL}\n</tool_calls>",
    f"<tool_calls>[{CALL}]</tool_calls>",
    "<seed:think>Run.</seed:think><seed:tool_call>\n<function=ipython>\n<parameter=code>1</parameter></function>",
    "<seed:tool_call><function=ipython><parameter=code>1</parameter></function></seed:tool_call>",
    '<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="ipython">',
    '<｜DSML｜function_calls>\n<｜DSML｜invoke name="ipython">',
    "<｜tool▁call▁begin｜>ipython<｜tool▁sep｜>{}",
    '<xai:function_call name="ipython">',
    f"<|tool_call|>[{CALL}]<|/tool_call|>",
    "<|tool_call_start|>[ipython(code='1')]<|tool_call_end|>",
    f"<function_call> {CALL}",
    # Llama, Functionary, ChatGLM, Gorilla, XML by the tool's name
    "<|python_start|>[ipython(code='1')]<|python_end|>",
    f"{CALL}; {CALL}",
    f"{CALL}\n{CALL}",
    f"{CALL}<|eom_id|>",
    f"{CALL}\n</tool_call>",
    f"Run it.</think>\n{CALL}",
    '>>>ipython\n{"code": "1"}',
    'ipython\n{"code": "1"}',
    'functions.ipython:0{"code": "1"}',
    "<|assistant|>ipython\n```python\ntool_call(code='1')\n```",
    "<<function>>ipython(code='1')",
    "<ipython>\n<code>1</code>\n</ipython>",
    "I run it.\n<execute_ipython>\n1+1\n</execute_ipython>",
    '<ipython code="1"/>',
    '<function name="ipython">{"code": "1"}</function>',
    '<tool name="ipython">1</tool>',
    '<invoke name="ipython">\n<parameter name="code">1</parameter>\n</invoke>',
    # JSON in other shapes
    f"I'll run it:\n```json\n{CALL}\n```",
    f"Let me run `ipython`.\n\n{CALL}",
    "{'name': 'ipython', 'arguments': {'code': '1'}}",
    '{"name": "ipython", "arguments": {"code": "1\n2"}}',
    '{"function_call": {"name": "ipython", "arguments": "{}"}}',
    '{"tool_uses": [{"recipient_name": "functions.ipython", "parameters": {"code": "1"}}]}',
    '{"thoughts": {}, "command": {"name": "ipython", "args": {"code": "1"}}}',
    '{"ipython": {"code": "1"}}',
    '{"thought": "run", "action": "ipython", "action_input": "1"}',
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
    'A model writes this:\n\n    <tool_call>\n    {"name": "ipython", "arguments": {}}\n    </tool_call>',
    f"A model writes this:\n~~~\n<tool_call>\n{CALL}\n</tool_call>\n~~~",
    f"In a block:\n````\n```\n<tool_call>\n{CALL}\n</tool_call>\n```\n````\nSo it is.",
    "<tool_call> is the mark that Qwen uses, with a name such as ipython behind it.",
    "The marks are:\n<tool_call> for Qwen\n[TOOL_CALLS] for Mistral\nThe tool is named ipython.",
    "gpt-oss writes `<|channel|>commentary to=functions.ipython` and the arguments.",
    "gpt-oss writes:\n```\n<|start|>assistant<|channel|>commentary to=functions.ipython<|message|>{}\n```",
    "Gemini writes its calls like this:\n```tool_code\nprint(6*7)\n```",
    "```tool_code\nprint(6*7)\n```\nThat is how Gemini writes a call.",
    "Let me show you how Gemini writes a call:\n```tool_code\nprint(6*7)\n```",
    "ReAct asks for `Action: ipython` and then `Action Input:`.",
    "ReAct looks so:\n```\nThought: run\nAction: ipython\nAction Input: 1+1\n```",
    "Action: restart the server\nAction Input: none",
    "Thought: it is known.\nFinal Answer: 42",
    "Tool: bash\nArguments: command, timeout",
    "Tool: ipython (a kernel)",
    "Tool calls: 3",
    "Let me know if you need more.\n\n```python\nipython(code='1')\n```",
    "ipython {x} and bash {y}",
    f"<pre>\n<tool_call>{CALL}</tool_call>\n</pre>",
    'Tools: {"bash": 3, "ipython": 5}',
    f"The last tool call: {CALL}",
    "json\n[1, 2]",
    '<tools>{"bash": 1}</tools>',
    "ipython: a shell {of Python}",
    "- Action: ipython was started.\n- Result: it works.",
    "result = bash(1)",
    "Gemma's calls:\n```tool_code\nprint(6*7)\n```",
    f"The last call in the log is\n{CALL}\nand it failed.",
    f"The format is:\n```json\n{CALL}\n```",
    f"I will show an example:\n```json\n{CALL}\n```",
    "```python\nprint(6*7)\n```",
    "I'll use a loop:\n```python\nfor i in range(3): print(i)\n```",
    "```bash\nls\n```",
    "bash {a,b} is a brace expansion.",
    "ipython (the shell) is installed.",
    '{"command": {"name": "x"}}',
    '{"function": "sum", "result": 3}',
    '{"users": {"ada": 1}}',
    '[{"name": "Ada", "arguments": 3}]',
    "{'name': 'Ada'}",
    "{'name': broken",
    "<html>\n<body>bash</body>\n</html>",
    "Use to=ipython as the address.",
]


@pytest.mark.parametrize("text", CALLS)
def test_a_call_in_the_form_of_any_model_family_is_recognized(text: str) -> None:
    assert is_call(text, ["ipython", "bash"])


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_may_mention_calls_and_be_json(text: str) -> None:
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
