"""The last turns, which `rlm resume` shows at the prompt."""

from __future__ import annotations

from pathlib import Path

from rlm.core.conversation import Conversation
from rlm.core.events import Replied
from rlm.core.messages import Kind, User
from rlm.repl.recap import Exchange, last_exchanges
from rlm.sessions import Session
from rlm_testkit.journals import opening, reply


def test_tasks_that_were_taken_back_are_not_shown(tmp_path: Path) -> None:
    """Nor are their answers; also if the task was joined to a note."""
    with Session.create(Path(".rlm"), model="test-model", cwd=tmp_path, prompt="one") as session:
        conversation = Conversation(session.record)

        def ask(task: str) -> None:
            conversation.append(User(task))
            conversation.emit(Replied(reply(f"answer to {task}")))

        for event in opening("one")[:1]:
            conversation.emit(event)
        ask("one")
        ask("two")
        conversation.append(User("a note", Kind.NOTE))
        ask("three")
        assert last_exchanges(session.folder) == [Exchange(task, f"answer to {task}") for task in ("two", "three")]
        conversation.take_back(conversation.tasks()[-1][0])
        assert last_exchanges(session.folder) == [Exchange(task, f"answer to {task}") for task in ("one", "two")]
        ask("four")
        assert last_exchanges(session.folder) == [Exchange(task, f"answer to {task}") for task in ("two", "four")]
