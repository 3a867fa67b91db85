"""The system prompt: it is short, and does not mention what is switched off."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from rlm.core.prompt import Facts, schema_prompt, shared_prompt, system_prompt
from rlm_testkit.fakes import common_beginning

ALL = Facts(
    cwd="/home/somebody/a/project/of/some/depth",
    tools=("ipython", "summarize", "bash", "edit"),
    recursion=True,
    version="3.12",
    python=".venv/bin/python",
    sandbox=True,
    network=False,
    context="str, 50,000,033 bytes of log.txt, begins '000000001'",
)


def test_with_everything_on_it_has_less_than_1500_bytes_before_skills() -> None:
    assert len(system_prompt(ALL).encode()) < 1500


@pytest.mark.parametrize(("recursion", "context"), list(product([True, False], ["", "str, 3 long, begins 'abc'"])))
def test_only_what_is_on_is_mentioned(recursion: bool, context: str) -> None:
    text = system_prompt(Facts("/x", ("ipython",), recursion, context))
    assert recursion == ("rlm.run" in text)
    assert bool(context) == ("The variable `context`" in text)
    assert "summarize" not in text


def test_without_a_kernel_the_prompt_does_not_mention_cells_or_recursion() -> None:
    text = system_prompt(Facts("/x", ("bash", "edit", "summarize"), recursion=True))
    assert "IPython" not in text
    assert "rlm.run" not in text
    assert "`summarize`" in text


def test_plain_chat_has_no_mention_of_tools() -> None:
    assert "tool call" not in system_prompt(Facts("/x", ()))


def test_additions_come_last_and_in_order() -> None:
    text = system_prompt(Facts("/x", skills="SKILLS", project="PROJECT", append="APPEND"))
    assert text.endswith("SKILLS\n\nPROJECT\n\nAPPEND")


def test_prompts_of_one_run_begin_alike_and_differ_only_at_the_end() -> None:
    root = replace(ALL, skills="SKILLS", project="PROJECT", append="APPEND", recursion=True, context="")
    child = replace(root, recursion=False, context="int, 3")
    shared = common_beginning(system_prompt(root), system_prompt(child))
    assert shared.rstrip().endswith("APPEND")
    assert schema_prompt("{}") in system_prompt(replace(child, schema="{}"))
    assert shared_prompt(root) == shared_prompt(replace(child, schema="{}")) == shared.rstrip()
    sibling = system_prompt(replace(child, context="int, 4"))
    assert len(common_beginning(system_prompt(child), sibling)) > len(sibling) - 50
    elsewhere = system_prompt(replace(child, cwd="/elsewhere", python=""))
    assert "without a tool call ends the run" in common_beginning(system_prompt(child), elsewhere)


def test_it_describes_the_environment_of_the_model() -> None:
    assert "Its Python 3.12 is rlm's own." in system_prompt(ALL)
    assert "Your folder is /home/somebody/a/project/of/some/depth; the project's Python is `.venv/bin/python`." in (
        system_prompt(ALL)
    )
    assert "Its Python 3.12 is rlm's own (`%pip install` adds to it)." in system_prompt(Facts("/x", version="3.12"))
    assert "your folder and /tmp can be written; there is no network." in system_prompt(ALL)
    assert "your folder and /tmp can be written." in system_prompt(Facts("/x", sandbox=True))
    assert "sandbox" not in system_prompt(Facts("/x"))
