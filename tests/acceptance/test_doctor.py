"""`rlm doctor` reports what is wrong and how to fix it, and changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rlm_testkit.cli import BY_RESPONSES, Rlm
from rlm_testkit.scripted import Scripted, call, text

Make = Callable[[Scripted], Rlm]


def test_all_is_well(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        command = rlm(server)
        done = command("doctor")
        report = command("doctor", "--json", HTTPS_PROXY="http://me:secret@127.0.0.1:9", NO_PROXY="127.0.0.1")
    assert 0 == done.code
    by_subject = {line["subject"]: line for line in report.lines}
    assert all(line["ok"] is True and line["state"] for line in report.lines)
    assert ("responses" if BY_RESPONSES else "chat", ["scripted"]) == (
        by_subject["endpoint"]["api"],
        by_subject["endpoint"]["models"],
    )
    assert by_subject["versions"]["packages"]["openai"] in done.out
    assert os.uname().machine == by_subject["platform"]["machine"]
    assert {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"} == by_subject["network"]["settings"]
    assert [str(command.cwd)] == by_subject["can write"]["writable"]
    assert "except" in by_subject["can read"]["state"]
    assert str(command.folder / "home") in by_subject["can write"]["hidden"]
    assert "✗" not in done.out
    assert "starts and runs a cell" in done.out
    assert not (command.cwd / ".rlm").exists()


def test_each_problem_is_reported_with_its_solution(alone: Rlm) -> None:
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


def test_an_endpoint_without_a_list_of_models_is_checked_without_a_paid_request(rlm: Make) -> None:
    with Scripted(text("never"), models=None) as server:
        command = rlm(server)
        done = command("doctor", RLM_API="chat")
        wrong = command("doctor", RLM_BASE_URL=server.url.removesuffix("/v1"))
    assert [] == server.requests
    assert [0, 1] == [done.code, wrong.code]
    report = f"{server.url} answers; rlm uses its API chat. It has no list of models; /chat/completions is there\n"
    assert report in done.out
    assert "answers with an error" in wrong.out
    assert "Check the path of RLM_BASE_URL: most end in /v1." in wrong.out


SECRETS = {
    "RLM_BASE_URL": "http://user:p%40ss-of-url@127.0.0.1:9/v1?api-version=1&api-key=key-of-query",
    "RLM_API_KEY": "",
    "HTTP_PROXY": "http://me:pass-of-proxy@127.0.0.1:9",
    "all_proxy": "nonsense://me:pass-of-all@127.0.0.1:9",
    "PIP_INDEX_URL": "https://__token__:pass-of-index@pypi.example/simple",
    "UV_INDEX_PRIVATE": "https://me:pass-of-uv@pypi.example/simple",
}
HIDDEN = ("p%40ss", "p@ss", "key-of-query", "pass-of")


def test_no_password_of_a_url_and_no_key_in_one_is_printed(alone: Rlm) -> None:
    """By the doctor, and by a failing run with a traceback, which prints everything that one without prints."""
    bad = ["user:pass-of-bare@host/v1", "http://user:pass-of/url@host/v1", "http://u:pass-of@pass-of-port:x/v1"]
    for words in (["doctor"], ["--debug", "go"]):
        for url in (SECRETS["RLM_BASE_URL"], *bad):
            done = alone(*words, **SECRETS | {"RLM_BASE_URL": url})
            assert 0 != done.code
            assert [] == [secret for secret in HIDDEN if secret in done.out + done.err], done.out + done.err


WHOLE = "import os\nprint(dict(os.environ), open(f'/proc/{os.getppid()}/environ').read())\n!env"


def test_no_credential_for_the_provider_reaches_a_kernel(rlm: Make) -> None:
    """Variables that the project needs, such as an index or a database, do reach it."""
    with Scripted(call("ipython", code=WHOLE), text("end")) as server:
        command = rlm(server)
        variables = SECRETS | {
            "RLM_BASE_URL": f"{server.url}".replace("://", "://user:pass-of-base@"),
            "OPENAI_BASE_URL": "https://user:pass-of-openai@host/v1",
            "OPENAI_ADMIN_KEY": "pass-of-admin",
            "OPENAI_CUSTOM_HEADERS": "Authorization: pass-of-header",
            "OPENAI_ORGANIZATION": "an-organization",
            "HTTP_PROXY": "",
            "all_proxy": "",
            "https_proxy": "http://me:pass-of-proxy@127.0.0.1:9",
            "no_proxy": "*",
            "DATABASE_URL": "postgres://me:word-of-database@localhost/db",
            "PIP_INDEX_URL": "https://me:word-of-index@localhost/simple",
            "UV_INDEX_PRIVATE": "",
        }
        (output,) = command("go", **variables).session.results
    assert [] == [secret for secret in HIDDEN if secret in output]
    for kept in ("word-of-database", "word-of-index", "an-organization"):
        assert kept in output


def test_a_model_that_the_endpoint_does_not_have_is_named(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        done = rlm(server)("doctor", "--model", "no-such-model")
    assert 1 == done.code
    assert "no-such-model" in done.out
    assert "RLM_MODEL" in done.out


def test_a_sandbox_is_tried_though_it_is_off(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        command = rlm(server)
        done = command("doctor")
    assert "✓ sandbox      off: the model's code runs with your permissions. --sandbox works here\n" in done.out
    assert [] == list(command.cwd.iterdir())


def test_the_sandbox_that_is_on_is_tried_and_its_kernel_too(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        command = rlm(server)
        done = command("doctor", "--sandbox")
    assert 0 == done.code
    assert "✓ kernel       starts and runs a cell\n" in done.out
    assert "✓ sandbox      bwrap works\n" in done.out
    assert [] == list(command.cwd.iterdir())


def test_an_unavailable_sandbox_is_reported_with_the_command_that_installs_it(rlm: Make, tmp_path: Path) -> None:
    with Scripted(text("never")) as server:
        command = rlm(server)
        on = command("doctor", RLM_SANDBOX="bwrap", PATH=str(tmp_path))
        off = command("doctor", PATH=str(tmp_path))
    assert [1, 0] == [on.code, off.code]
    assert "✗ sandbox      is unavailable\n" in on.out
    assert "Install it: apt-get install bubblewrap\n" in on.out
    assert "✗" not in off.out
    assert "Install it: apt-get install bubblewrap\n" in off.out
