"""behaviour.md, Sub-agents: a cell calls the agent itself, through the host."""

from __future__ import annotations

from collections.abc import Callable

from rlm_testkit.cli import Done, Rlm
from rlm_testkit.leftovers import processes
from rlm_testkit.scripted import Answer, Request, Script, Scripted, call, error, text

Make = Callable[[Scripted], Rlm]


BEGUN = (
    "import asyncio, pathlib\ntask = asyncio.ensure_future(rlm.run('a'))\n"
    "while not list(pathlib.Path('.rlm/sessions').glob('*/sub-*/meta.json')): await asyncio.sleep(0.01)"
)
"""A cell that waits for a running child."""


def tree(cells: list[str], child: Script) -> Script:
    """A root that runs these cells and then answers `end`; children follow the script `child`."""

    def script(request: Request) -> Answer:
        if request.depth > 0:
            return child(request)
        turn = request.turn
        return call("ipython", code=cells[turn]) if turn < len(cells) else text("end")

    return script


def says(request: Request) -> Answer:
    return text(f"did {request.task}")


def run(make: Make, *cells: str, child: Script = says, depth: str = "1", **env: str) -> tuple[Done, Scripted]:
    with Scripted(tree(list(cells), child)) as server:
        return make(server)("go", RLM_MAX_DEPTH=depth, **env), server


FORMS = [
    "print((await rlm.run('a')).answer)",
    "print((await rlm('a')).answer)",
    "import asyncio\nprint(asyncio.run(rlm.run('a')).answer)",
    "r, = await asyncio.gather(rlm.run('a'))\nprint(r.answer)",
    "import asyncio\nasync def main():\n    return await asyncio.gather(rlm.run('a'))\nprint(asyncio.run(main())[0].answer)",
    "import asyncio, threading\nout = []\n"
    "t = threading.Thread(target=lambda: out.append(asyncio.run(rlm.run('a'))))\nt.start(); t.join()\nprint(out[0].answer)",
    "!rlm a",
    "import rlm as other\nprint((await other.run('a')).answer)",
]


def test_every_form_of_the_call_works_in_a_cell(rlm: Make) -> None:
    done, _ = run(rlm, *FORMS)
    assert ["did a"] * len(FORMS) == [result.strip() for result in done.session.results]
    assert len(FORMS) == len(done.session.children)


HANDLES = [
    "import asyncio\ndid, boom, slow, left = (asyncio.create_task(rlm.run(t)) for t in ('a', 'boom', 'slow', 'left'))",
    "many = asyncio.create_task(rlm.map('m', [1, 2], limit=1))\nwhile not (did.done() and boom.done() and many.done()):\n"
    "    await asyncio.sleep(0.01)\nprint((await did).answer, len(await many), slow.done())",
    "print(slow.cancel())\ntry:\n    await slow\nexcept asyncio.CancelledError:\n    print(slow.cancelled())\n"
    "try:\n    await boom\nexcept rlm.AgentError as error:\n    print('raised', error)",
]


def test_tasks_of_asyncio_are_handles_that_outlive_their_cell_and_end_with_their_agent(rlm: Make) -> None:
    def child(request: Request) -> Answer:
        if request.task == "boom":
            return error(400, "no such thing")
        return says(request).after(600 if request.task in ("slow", "left") else 0)

    done, _ = run(rlm, *HANDLES, child=child)
    begun, later, last = done.session.results
    assert "[no output]" == begun
    assert "did a 2 False" in later.splitlines()
    assert "[sub-agent 'a' of an earlier cell has ended, done: did a]" in later.splitlines()
    assert (
        "[sub-agent 'boom' of an earlier cell has ended, failed: 400 Bad Request: no such thing.]" in later.splitlines()
    )
    assert "'m'" not in later, "its own cell waits for it"
    assert ["True", "True", "raised 400 Bad Request: no such thing."] == last.split("\n")[:3]
    stops = {each.meta["prompt_preview"]: each.meta["stop_reason"] for each in done.session.children}
    assert {"a": "done", "boom": "error", "slow": "cancelled", "left": "cancelled", "m": "done"} == stops
    assert (0, "end\n") == (done.code, done.out)


def test_a_child_knows_only_its_task_word_for_word(rlm: Make) -> None:
    _, server = run(rlm, "await rlm.run('  do\\nthis ')")
    (asked,) = [request for request in server.requests if request.depth == 1]
    assert [{"role": "user", "content": "  do\nthis "}] == asked.messages[1:]


def test_the_result_has_its_fields_and_usage_is_the_whole_subtree(rlm: Make) -> None:
    cell = "r = await rlm.run('a')\nprint(r.ok, r.stop, r.turns, r.usage.completion, r.session_dir.name[:4])"
    done, _ = run(rlm, cell)
    assert "True done 1 10 sub-" == done.session.results[0].strip()


def test_the_settings_of_the_parent_are_the_childs_unless_given(rlm: Make) -> None:
    _, server = run(rlm, "await rlm.run('a')\nawait rlm.run('b', model='other', tools=('bash',))", RLM_TOOLS="ipython")
    a, b = [request.body for request in server.requests if request.depth == 1]
    assert ("scripted", ["ipython"]) == (a["model"], [tool["function"]["name"] for tool in a["tools"]])
    assert ("other", ["bash"]) == (b["model"], [tool["function"]["name"] for tool in b["tools"]])


def test_no_tools_is_one_plain_model_call(rlm: Make) -> None:
    _, server = run(rlm, "print((await rlm.run('a', tools=())).answer)")
    (asked,) = [request for request in server.requests if request.depth == 1]
    assert "tools" not in asked.body


def test_a_context_is_in_the_childs_kernel_and_only_its_head_in_the_prompt(rlm: Make) -> None:
    def child(request: Request) -> Answer:
        return (
            call("ipython", code="print(type(context).__name__, len(context['rows']), context['f'](2))")
            if (request.turn == 0)
            else text(request.last.strip())
        )

    cell = (
        "data = {'rows': list(range(100_000)), 'f': lambda x: x * 21}\nprint((await rlm.run('a', context=data)).answer)"
    )
    done, server = run(rlm, cell, child=child)
    assert "dict 100000 42" == done.session.results[0].strip()
    prompt = next(request for request in server.requests if request.depth == 1).messages[0]["content"]
    assert "dict" in prompt
    assert "99999" not in prompt


def test_a_failing_child_raises_and_the_parent_goes_on(rlm: Make) -> None:
    cell = "try:\n    await rlm.run('a')\nexcept rlm.AgentError as error:\n    print('refused:', error)"
    from rlm_testkit.scripted import error as http_error

    done, _ = run(rlm, cell, child=lambda _: http_error(400, "bad request, says the provider"))
    assert 0 == done.code
    assert "bad request" in done.session.results[0]
    assert "error" == done.session.children[0].meta["status"]


BAD_ARGUMENTS = {
    "cwd='nowhere'": "/inner/nowhere' is not allowed: it takes a folder that exists",
    "timeout='soon'": "timeout='soon' is not allowed: it takes a number of seconds above 0",
    "timeout=-1": "timeout='-1' is not allowed",
    "timeout=float('nan')": "timeout='nan' is not allowed",
    "tools='python'": "tools='python' is not allowed",
    "max_turns=0": "max_turns='0' is not allowed",
}


def test_a_bad_argument_is_refused_with_the_reason_and_the_parent_goes_on(rlm: Make) -> None:
    cells = [
        f"try:\n    await rlm.run('a', {argument})\nexcept rlm.AgentError as error:\n    print(error.stop, error)"
        for argument in BAD_ARGUMENTS
    ]
    done, server = run(rlm, "import os\nos.mkdir('inner'); os.chdir('inner')", *cells)
    for result, reason in zip(done.session.results[1:], BAD_ARGUMENTS.values(), strict=True):
        assert result.startswith("error ")
        assert reason in result
    assert (0, "end\n", []) == (done.code, done.out, done.session.children)
    assert {0} == {request.depth for request in server.requests}


def test_a_child_has_no_more_turns_than_its_parent_and_may_choose_no_recording(rlm: Make) -> None:
    def child(request: Request) -> Answer:
        return call("ipython", code=str(request.turn))

    cell = (
        "print((await rlm.run('a', max_turns=50)).turns, (await rlm.run('b', max_turns=2)).turns)\n"
        "try:\n    await rlm.run('c', model='replay:/dev/zero')\nexcept rlm.AgentError as error:\n    print(error)"
    )
    done, _ = run(rlm, cell, child=child, RLM_MAX_TURNS="3")
    assert "4 3\nno cell may choose a recording: the host would read it" == done.session.results[0].strip()


BAD_REQUESTS = """
import json, os, socket
path, _, token = os.environ["RLM_BROKER"].rpartition(":")
said = set()
for bad in [b"{", b"[" * 100_000, b"\\xff", json.dumps({"version": 1, "verb": "run", "token": token, "task": "", "options": {"tools": "x"}}).encode()] * 10:
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
        end.sendall(bad + b"\\n")
        said.add(json.loads(end.makefile().readline())["type"])
print(said, (await rlm.run("a")).answer)
"""


def test_an_invalid_request_costs_the_tree_no_agent_and_is_not_reported_to_the_user(rlm: Make) -> None:
    done, _ = run(rlm, BAD_REQUESTS, RLM_MAX_AGENTS="2")
    assert "{'error'} did a" == done.session.results[0].strip()
    assert "Traceback" not in done.err


def test_a_relative_cwd_is_relative_to_the_cells(rlm: Make) -> None:
    def child(request: Request) -> Answer:
        if request.turn:
            return text(request.last.strip())
        return call("ipython", code="import os\nprint(os.getcwd())")

    cell = "import os\nos.makedirs('inner/deep'); os.chdir('inner')\nprint((await rlm.run('a', cwd='deep')).answer)"
    done, _ = run(rlm, cell, child=child)
    assert str((done.cwd / "inner" / "deep").resolve()) == done.session.results[0].strip()


def test_a_forged_request_can_set_no_more_than_an_honest_one(rlm: Make) -> None:
    """A cell knows its socket and token, and need not use rlm's client."""
    cell = (
        "import json, os, socket\n"
        "path, _, token = os.environ['RLM_BROKER'].rpartition(':')\n"
        "def asked(**more):\n"
        "    with socket.socket(socket.AF_UNIX) as end:\n"
        "        end.connect(path)\n"
        "        end.sendall(json.dumps({'version': 1, 'verb': 'run', 'token': token, 'task': 'a'} | more).encode() + b'\\n')\n"
        "        return json.loads(end.makefile().readline())\n"
        "for name, value in {'max_depth': '9', 'sandbox': 'off', 'home': '/', 'max_tokens': '0'}.items():\n"
        "    print(asked(options={name: value})['reason'].split(';')[0])\n"
        "print(asked(depth=0, max_depth=9)['reason'].split(';')[0])\n"
        "print(asked()['answer'])"
    )

    def child(request: Request) -> Answer:
        if request.turn:
            return text(request.last.strip())
        return call(
            "ipython", code="import rlm\ntry:\n    await rlm.run('b')\nexcept rlm.AgentError as e:\n    print(e.stop)"
        )

    done, _ = run(rlm, cell, child=child)
    refused = [f"unknown argument '{name}'" for name in ("max_depth", "sandbox", "home", "max_tokens")]
    refused.append("the request is refused: unknown field of run 'depth'")
    assert [*refused, "depth_limit"] == done.session.results[0].splitlines()
    assert 1 == len(done.session.children)


def test_at_the_depth_limit_the_prompt_is_silent_and_the_call_fails_at_once(rlm: Make) -> None:
    cell = "import rlm\ntry:\n    await rlm.run('a')\nexcept rlm.AgentError as error:\n    print(error.stop)"
    done, server = run(rlm, cell, depth="0")
    assert "depth_limit" == done.session.results[0].strip()
    assert "rlm.run" not in server.requests[0].messages[0]["content"]
    assert [] == done.session.children


def test_the_root_may_have_children_at_depth_1_and_they_may_not(rlm: Make) -> None:
    def child(request: Request) -> Answer:
        if request.turn:
            return text(request.last.strip())
        return call(
            "ipython", code="import rlm\ntry:\n    await rlm.run('b')\nexcept rlm.AgentError as e:\n    print(e.stop)"
        )

    done, _ = run(rlm, "print((await rlm.run('a')).answer)", child=child)
    assert "depth_limit" == done.session.results[0].strip()


def test_a_cell_cannot_raise_its_limits(rlm: Make) -> None:
    cell = (
        "import os\nos.environ['RLM_MAX_DEPTH'] = '9'; os.environ['RLM_MAX_AGENTS'] = '999'\n"
        "import rlm\ntry:\n    await rlm.run('a')\nexcept rlm.AgentError as error:\n    print(error.stop)"
    )
    done, _ = run(rlm, cell, depth="0")
    assert "depth_limit" == done.session.results[0].strip()


def test_the_tree_has_one_number_of_agents(rlm: Make) -> None:
    cell = (
        "done = await asyncio.gather(*(rlm.run(str(i)) for i in range(5)), return_exceptions=True)\n"
        "print([getattr(r, 'stop', r) for r in done].count('agent_budget'), len(done))"
    )
    done, _ = run(rlm, "import asyncio\n" + cell, RLM_MAX_AGENTS="3")
    assert "3 5" == done.session.results[0].strip()
    assert 2 == len(done.session.children)


def test_the_tree_has_one_token_budget(rlm: Make) -> None:
    done, _ = run(rlm, "r = await rlm.run('a')\nprint(r.stop)", "print('never')", RLM_MAX_TOKENS="20")
    assert 3 == done.code
    assert "token_budget" == done.session.meta["stop_reason"]


def test_nesting_does_not_deadlock_with_one_slot(rlm: Make) -> None:
    def child(request: Request) -> Answer:
        if request.depth == 3:
            return text("leaf")
        if request.turn:
            return text(request.last.strip())
        cell = "import asyncio\nprint([r.answer for r in await asyncio.gather(*(rlm.run(str(i)) for i in range(2)))].count('leaf') or 'inner')"
        return call("ipython", code=cell)

    cell = "import asyncio\nprint(len(await asyncio.gather(*(rlm.run(str(i)) for i in range(2)))))"
    done, server = run(rlm, cell, child=child, depth="3", RLM_MAX_CONCURRENT_AGENTS="1")
    assert 0 == done.code
    assert "2" == done.session.results[0].strip()
    assert 8 == sum(request.depth == 3 for request in server.requests)


def test_waiting_for_children_does_not_run_the_clock_of_the_cell(rlm: Make) -> None:
    done, _ = run(
        rlm, "print((await rlm.run('a')).answer)", child=lambda request: says(request).after(5), RLM_EXEC_TIMEOUT="3"
    )
    assert "did a" == done.session.results[0].strip()


def test_cancelling_the_await_cancels_the_child(rlm: Make) -> None:
    cell = f"{BEGUN}\ntask.cancel()\ntry:\n    await task\nexcept asyncio.CancelledError:\n    print('gone')"
    done, _ = run(rlm, cell, child=lambda request: says(request).after(60))
    assert "gone" == done.session.results[0].strip()
    assert ("cancelled", "cancelled") == (
        done.session.children[0].meta["status"],
        done.session.children[0].meta["stop_reason"],
    )


def test_a_timeout_cancels_the_child_and_says_so(rlm: Make) -> None:
    cell = "try:\n    await rlm.run('a', timeout=1)\nexcept rlm.AgentError as error:\n    print(error)"
    done, _ = run(rlm, cell, child=lambda request: says(request).after(60))
    assert "timed out after 1 s" in done.session.results[0]
    assert "cancelled" == done.session.children[0].meta["status"]


def test_each_request_says_its_depth(rlm: Make) -> None:
    _, server = run(rlm, "await rlm.run('a')")
    assert [0, 1, 0] == [request.depth for request in server.requests]


def test_every_record_of_json_says_its_agent_and_the_last_is_the_result(rlm: Make) -> None:
    with Scripted(tree(["await rlm.run('a')"], says)) as server:
        done = rlm(server)("--json", "go", RLM_MAX_DEPTH="1")
    child = done.session.children[0].folder.name
    assert {"root", f"root/{child}"} == {line["agent"] for line in done.lines}
    assert "session" == done.lines[0]["type"]
    last = done.lines[-1]
    assert ("result", "end", 2, 0) == (last["type"], last["answer"], last["agents"], last["exit_code"])
    assert {"root", f"root/{child}"} == set(last["usage_by_agent"])


def test_tree_usage_is_summed_at_every_node(rlm: Make) -> None:
    done, _ = run(rlm, "await rlm.run('a')\nawait rlm.run('b')")
    meta = done.session.meta
    assert 20 == meta["usage"]["completion_tokens"]
    assert 40 == meta["tree_usage"]["completion_tokens"]


def test_children_that_are_left_running_end_with_their_parent(rlm: Make) -> None:
    done, _ = run(rlm, BEGUN, child=lambda request: says(request).after(60))
    assert 0 == done.code
    assert "cancelled" == done.session.children[0].meta["status"]


def test_a_context_file_of_the_command_line_is_in_the_kernel(rlm: Make) -> None:
    with Scripted(call("ipython", code="print(len(context), context[-4:])"), text("ok")) as server:
        command = rlm(server)
        (command.cwd / "big.txt").write_text("x" * 3_000_000 + "end\n")
        done = command("--context", "big.txt", "go")
    assert "3000004 end" == done.session.results[0].strip()
    assert len(server.requests[0].messages[0]["content"]) < 3_000


def test_a_context_is_loaded_by_the_childs_kernel_and_never_by_the_host(rlm: Make) -> None:
    cell = (
        "import os\n"
        "class Tells:\n"
        "    def __reduce__(self):\n"
        "        return eval, (\"__import__('pathlib').Path('loaded').write_text(str(__import__('os').getpid()))\",)\n"
        "print(os.getpid(), (await rlm.run('a', context=Tells())).answer)"
    )

    def child(request: Request) -> Answer:
        if request.turn:
            return text(request.last.strip())
        return call("ipython", code="import os\nprint(os.getpid(), context)")

    done, _ = run(rlm, cell, child=child)
    loaders = (done.cwd / "loaded").read_text().split()
    parent, in_child, _ = done.session.results[0].split()
    assert [in_child] == loaders
    assert parent != in_child


def test_a_kernel_has_rlm_without_importing_the_agent(rlm: Make) -> None:
    cell = (
        "import sys\nawait rlm.run('a')\n"
        "print([name for name in ('openai', 'rlm.host.run', 'rlm.sessions') if name in sys.modules])"
    )
    done, _ = run(rlm, cell)
    assert "[]" == done.session.results[0].strip()


def test_a_child_without_a_cell_has_no_kernel(rlm: Make) -> None:
    running: list[list[str]] = []

    def child(request: Request) -> Answer:
        running.append([" ".join(process.cmdline()) for process in processes(rlm_command)])
        return text("answered")

    with Scripted(tree(["await rlm.run('a')"], child)) as server:
        rlm_command = rlm(server)
        assert 0 == rlm_command("go", RLM_MAX_DEPTH="1").code
    (commands,) = running
    assert 2 == sum("rlm.inside" in command for command in commands), "only the zygote and the root's kernel"
