"""The agent loop: ask the model, run the calls in its reply, repeat until a reply has no calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from rlm.core.adaptation import Adaptation, adapt
from rlm.core.budget import Spent, Stop
from rlm.core.conversation import Conversation
from rlm.core.events import (
    Answered,
    CallEnded,
    CallStarted,
    Failed,
    LimitReached,
    ParametersChanged,
    Replied,
    RequestStarted,
    ToolReturned,
)
from rlm.core.messages import Assistant, Ending, Kind, Outcome, Reply, System, ToolCall, ToolResult, User, ending
from rlm.core.ports import AnswerCheck, Context, Limits, Model, Sink, ToolChoice
from rlm.core.state import ConversationState
from rlm.core.textcall import is_call
from rlm.core.toolbox import Toolbox
from rlm.errors import ContentFiltered, ContextTooLong, MessagesRefused, ModelError, RlmError

REMINDER = (
    "You wrote a tool call as text, so nothing was run. To call a tool, use the function calling of the API: a tool "
    "call beside your message, with the tool's name and its arguments. If this was your answer, give it in other words."
)
NO_CALLS = (
    "The model writes its tool calls as text, even after a reminder. Start its server with a parser for them "
    "(vLLM: --enable-auto-tool-choice --tool-call-parser; llama.cpp: --jinja), or use another model."
)
NO_PICTURES = "The model accepts no pictures, or not in this position: each is replaced by a line of text."
WRONG_ANSWER = "This is not the answer that was asked for: {problem}. Answer again."
NOT_RUN = "Not run: the answer was given before."
_CORRECTIONS = 4
"""The model may correct an answer of the wrong form this many times."""
GO_ON = "Your message was cut off at the length limit. Go on exactly where it stopped."
LAST = (
    "You have reached a limit of this run ({stop}). This is your last message, and no tool can be called. Answer now, "
    "in the form that was asked for, with what you have; where there is room for it, say what is missing."
)
LAST_PART = "{go_on} It is the last message of this run ({stop}), so finish your answer."
TIME_IS_OVER = "Interrupted, or not run: the time limit of this run has expired."
NO_MORE_CALLS = "Not run: a limit of this run was reached."
NOT_ASKED = "The model could not be asked for its answer at the limit: {error}"


class AgentResult(Struct, frozen=True):
    """How a run ended. `answer` is partial unless `stop` is `done`.

    `words` is the provider's explanation if the provider ended the run.
    """

    answer: str
    stop: Stop
    spent: Spent
    words: str = ""
    concluded: bool = False
    """The run stopped at a limit, and the model gave this answer when rlm asked for it."""


class Agent(Conversation):
    """One conversation with one model."""

    def __init__(
        self,
        *,
        model: Model,
        tools: Toolbox,
        context: Context,
        limits: Limits,
        sink: Sink,
        state: ConversationState | None = None,
        interjections: Callable[[], Sequence[User]] = tuple,
        check: AnswerCheck = str,
        asks_at: Collection[Stop] = (),
        deadline: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`interjections` returns the user's messages since its last call; the user may write while the agent works.

        If one of `asks_at` stops the run, one last request asks for the answer. After `deadline` (clock of the event
        loop) no tool runs, and that last request is the only one.
        """
        super().__init__(sink, state)
        self._interjections = interjections
        self._model = model
        self._tools = tools
        self._context = context
        self._limits = limits
        self._check = check
        self._asks_at = asks_at
        self._deadline = deadline
        self._corrections = 0
        self._requested: ParametersChanged | None = None
        self._words = ""
        self._finish = ""
        self._reminded = False
        self._concluded = False

    async def run(self, *opening: System | User) -> AgentResult:
        """Append `opening`, then work until the model answers or a limit is reached.

        If a killed run left open calls, they get results first.

        Raises:
            RlmError: the run cannot continue. The journal is settled first, also on cancellation.
        """
        try:
            self.settle()
            for message in opening:
                self.append(message)
            self._words, self._reminded, self._corrections = "", False, 0
            self._concluded = False
            stop = await self._work()
            self.close(stop, self._words)
        except asyncio.CancelledError:
            self.close(Stop.CANCELLED)
            raise
        except BaseException as error:
            self.close(Stop.ERROR, str(error) or type(error).__name__)
            raise
        return AgentResult(self.state.answer, stop, self.state.spent, self._words, self._concluded)

    async def _work(self) -> Stop:
        """Run turns until the run ends. At a limit, ask for the answer, and keep what the model has answered."""
        self._finish = ""
        try:
            begun = self.state.spent.turns
            stop = await self._turns()
            if stop in self._asks_at and self.state.spent.turns > begun:
                await self._ask_for_answer(stop)
        except ContextTooLong as error:
            self._words = str(error)
            return Stop.CONTEXT_LIMIT
        except ContentFiltered as error:
            self._words = str(error)
            return Stop.CONTENT_FILTER
        stop = Stop.LENGTH if self.state.cut else stop
        if stop is not Stop.DONE:
            self._check_partial_answer()
        if self._finish and stop in (Stop.LENGTH, Stop.CONTENT_FILTER):
            self._words = f"The provider ended the message: {self._finish}."
        return stop

    async def _turns(self) -> Stop:
        """Run turns until one ends the run, or a limit is reached. New messages of the user keep the run going."""
        while True:
            deadline = self._deadline()
            if deadline is not None and asyncio.get_running_loop().time() >= deadline:
                return Stop.TIMEOUT
            if (stop := self._limits.reached(self.state.spent)) is not None:
                return stop
            self._append_user_messages()
            if self.state.cut:
                self.append(User(GO_ON, Kind.NOTE))
            await self._context.fit(self)
            reply = await self._request()
            self._finish = reply.finish
            stop = await self._run_calls(reply) if reply.message.calls else self._judge(reply)
            if stop is not None and not (stop is Stop.DONE and self._append_user_messages()):
                return stop

    async def _ask_for_answer(self, stop: Stop) -> None:
        """Send one request without tools. The run ends at its limit, whatever the reply is."""
        before, cut = self.state.answer, self.state.cut
        self.emit(LimitReached(stop))
        newest = self.state.history.entries[-1]
        if isinstance(newest.message, Assistant) and not (newest.message.text.strip() or newest.message.calls):
            self.drop((newest.number,), "empty")  # only reasoning: strict providers refuse to take it back
        self.append(User(LAST_PART.format(go_on=GO_ON, stop=stop) if cut else LAST.format(stop=stop), Kind.NOTE))
        try:
            reply = await self._request("none")
        except RlmError as error:
            self.report(NOT_ASKED.format(error=error))
            return
        for call in reply.message.calls:
            self.emit(ToolReturned(ToolResult(call, NO_MORE_CALLS, ok=False)))
        text = reply.message.text
        if self.is_call(text):
            self.emit(Answered(before))
        else:
            self._concluded = text.strip() != "" and not reply.message.calls

    def _append_user_messages(self) -> bool:
        """Append the user's new messages. Return whether there were any."""
        said = self._interjections()
        for message in said:
            self.append(message)
        return bool(said)

    def _judge(self, reply: Reply) -> Stop | None:
        """Decide whether a reply without calls ends the run. If it does not, tell the model why, unless it was cut off.

        Raises:
            ModelError: the message is empty, or contains a call again although the model was reminded.
        """
        text = reply.message.text
        end = ending(reply.finish)
        if end is Ending.CONTENT_FILTER:
            return Stop.CONTENT_FILTER
        if end is Ending.LENGTH:
            return None if text.strip() else Stop.LENGTH
        if not text.strip():
            raise ModelError("The model sent an empty message. Try again, or try another model.")
        if self.is_call(text):
            self._remind()
            return None
        try:
            answer = self._check(self.state.answer)
        except ValueError as error:
            return self._correct(str(error))
        if answer != self.state.answer:
            self.emit(Answered(answer))
        return Stop.DONE

    def _check_partial_answer(self) -> None:
        """Keep an answer at a limit, which may be partial, only if it has the required form."""
        try:
            answer = self._check(self.state.answer)
        except ValueError:
            answer = ""
        if answer != self.state.answer:
            self.emit(Answered(answer))

    def _correct(self, problem: str) -> Stop | None:
        """Tell the model what is wrong with its answer, or return why the run ends if it was told too often."""
        if self._corrections == _CORRECTIONS:
            self._words = problem
            return Stop.SCHEMA
        self._corrections += 1
        self.append(User(WRONG_ANSWER.format(problem=problem), Kind.NOTE))
        return None

    def _remind(self) -> None:
        """Tell the model once that a call written as text does not run.

        Raises:
            ModelError: the model was reminded before.
        """
        if self._reminded:
            raise ModelError(NO_CALLS)
        self._reminded = True
        self.append(User(REMINDER, Kind.NOTE))

    async def compact(self) -> bool:
        """Ask the model to summarise the older turns now, between two tasks. Return whether the context got shorter.

        Raises:
            RlmError: the model cannot be asked.
        """
        self.settle()
        try:
            return await self._context.compact(self)
        finally:
            self.settle()

    def use_model(self, model: Model) -> None:
        """Use `model` from the next request on."""
        self._model = model

    async def side_request(self) -> Reply:
        """Make one model call that is no turn, with the same tools: without them the rendered prompt would change."""
        return await self._request("none", aside=True)

    def is_call(self, text: str) -> bool:
        names = [schema["name"] for schema in self._tools.schemas]
        return bool(names) and is_call(text, names)

    def report(self, problem: str) -> None:
        self.emit(Failed(problem))

    async def _request(self, tool_choice: ToolChoice = "auto", *, aside: bool = False) -> Reply:
        """Send one request. If the provider wants the messages shorter or in another form, change them and try again.

        A request for a summary (`aside`) is not made shorter here: the context policy that needs the summary does it.
        """
        while True:
            before = self._model.adaptations
            if before:
                self.adapt(before)
            choice: ToolChoice = "auto" if Adaptation.NO_TOOL_CHOICE in before else tool_choice
            try:
                return await self._send(choice, aside=aside)
            except ContextTooLong:
                if aside or not await self._context.shrink(self):
                    raise
            except MessagesRefused as refusal:
                known = self._model.adaptations | refusal.so_far
                without_choice = choice == "none" and Adaptation.NO_TOOL_CHOICE in known
                if not self.adapt(known) and not without_choice:
                    raise
                if Adaptation.NO_PICTURES in known and Adaptation.NO_PICTURES not in before:
                    self.report(NO_PICTURES)

    async def _send(self, tool_choice: ToolChoice, *, aside: bool) -> Reply:
        """Send one request. Emit its parameters if they have changed, and the reply as later requests contain it."""
        tools = self._tools.schemas
        choice = {"tool_choice": tool_choice} if tools and tool_choice != "auto" else {}
        requested = ParametersChanged(self._model.name, tools, self._model.params | choice, self._model.api)
        if requested != self._requested:
            self._requested = requested
            self.emit(requested)
        self.emit(RequestStarted(aside))
        reply = await self._model.complete(self.state.history.messages, tools, tool_choice)
        message = adapt(reply.message, self._model.adaptations)
        assert isinstance(message, Assistant)
        reply = replace(reply, message=message)
        self.emit(Replied(reply, aside))
        return reply

    async def _run_calls(self, reply: Reply) -> Stop | None:
        """Run the calls of the reply in order, until one gives the answer."""
        cut_off = ending(reply.finish) is Ending.LENGTH
        pictures: list[str] = []
        for number, call in enumerate(reply.message.calls, 1):
            outcome = await self._call(call, cut_off)
            if outcome.answer is not None:
                for later in reply.message.calls[number:]:
                    self.emit(ToolReturned(ToolResult(later, NOT_RUN, ok=False)))
                self.emit(Answered(outcome.answer))
                return Stop.DONE
            pictures.extend(outcome.pictures)
        if pictures:  # in a message of their own: most providers accept only text in a tool result
            self.append(User([{"type": "image_url", "image_url": {"url": url}} for url in pictures], Kind.NOTE))
        return None

    async def _call(self, call: ToolCall, cut_off: bool) -> Outcome:
        """Run one call until the deadline of the run. `cut_off`: the provider cut the message at its length limit."""
        self.emit(CallStarted(call))
        time_limit = asyncio.timeout_at(self._deadline())
        try:
            async with time_limit:
                outcome = await self._tools.run(call, self.state.history, cut_off=cut_off)
        except TimeoutError:
            if not time_limit.expired():
                raise  # the tool raised it itself
            outcome = Outcome(TIME_IS_OVER, ok=False)
        result = ToolResult(call, outcome.content, outcome.ok, exit_status=outcome.exit_status)
        self.emit(ToolReturned(result))
        self.emit(CallEnded(result))
        if outcome.forget is not None:
            self.forget(outcome.forget)  # now, so that the next call counts only the turns that are left
        return outcome
