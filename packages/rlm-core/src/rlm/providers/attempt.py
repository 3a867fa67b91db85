"""One request to a model of any API: the form of each try, and what a refusal teaches about the endpoint."""

from __future__ import annotations

import uuid

from msgspec.structs import replace

from rlm.core.adaptation import Adaptation
from rlm.core.messages import Reply, size
from rlm.errors import MessagesRefused
from rlm.providers.catalog import Catalog, no_such_model
from rlm.providers.connection import Connection
from rlm.providers.errors import HTTPError, TransportError, is_unknown_model, judge
from rlm.providers.learned import Learned, refused_parameter, refuses_form, refuses_reuse, refuses_usage
from rlm.providers.normalize import TOO_DEEP
from rlm.providers.ports import API, ModelPrompt, OnData
from rlm.providers.prices import PriceList
from rlm.version import VERSION

REQUEST_ID = "X-ACP-Model-Request-ID"
"""The header that identifies a request for an ACP trainer. The trainer removes it before the provider sees it."""


class ModelRequest:
    """One request to a model. Every failure becomes an HTTPError or a TransportError."""

    def __init__(
        self,
        connection: Connection,
        api: API,
        prompt: ModelPrompt,
        learned: Learned,
        on_data: OnData,
        *,
        catalog: Catalog,
        prices: PriceList,
        stream: bool,
        depth: int,
        tell_id: bool = False,
    ) -> None:
        self._connection = connection
        self._api = api
        self._prompt = prompt
        self._body = api.body(prompt)
        self._learned = learned
        self._catalog = catalog
        self._prices = prices
        self._on_data = on_data
        self._wanted = stream
        self._stream = self._first = stream if learned.stream is None else learned.stream
        self._streams_unreadable = learned.streams_unreadable
        self._switched = False
        self._sent = 0
        id = f"rlm-{uuid.uuid4()}"  # the same for each try, so that a proxy can distinguish a retry from a new turn
        self._id = id if tell_id else ""
        self._headers = connection.authorization | {
            "X-RLM-Depth": str(depth),
            "Idempotency-Key": id,
            "User-Agent": f"rlm/{VERSION}",
        }
        if tell_id:
            self._headers[REQUEST_ID] = id

    async def attempt(self) -> Reply:
        """Try once. If the server refuses the form (a stream, or the usage of one), try again at once in another form.

        Raises:
            HTTPError, TransportError: the try failed.
            MessagesRefused: the messages must be adapted first.
        """
        with_usage = self._learned.with_usage
        try:
            body = await self._send(with_usage=with_usage)
            try:
                reply = self._api.reply(body, lambda: sum(map(size, self._prompt.messages)))
            except RecursionError:
                raise TransportError(TOO_DEEP, unreadable=True) from None
        except HTTPError as fault:
            if self._change_form(fault, with_usage=with_usage):
                return await self.attempt()
            self._raise_for_adaptation(fault)
            fault.hint = self._api.hint(fault) or refused_parameter(fault, self._prompt.params or {})
            if is_unknown_model(fault) and (better := await self._unknown_model()):
                raise better from fault
            raise
        except TransportError as fault:
            self._streams_unreadable |= fault.unreadable and self._stream
            self._stream ^= fault.unreadable  # the next try requests the other form
            raise
        if self._stream != self._wanted:
            self._learned.stream, self._learned.streams_unreadable = self._stream, self._streams_unreadable
        self._learned.remember(reply.message)
        usage = await self._prices.priced(reply.usage, self._prompt.model, body, self._api.name)
        return replace(reply, usage=usage, request_id=self._id)

    def _change_form(self, fault: HTTPError, *, with_usage: bool) -> bool:
        """Change the form if the server refused a part of it. Return whether another try is worthwhile."""
        if self._stream and with_usage and refuses_usage(fault):
            self._learned.with_usage = False
            return True
        if self._stream != self._first and refuses_reuse(fault):  # the server has stored a reply that we did not get
            self._stream = self._first
            return True
        if self._switched or not refuses_form(fault, streamed=self._stream):
            return False
        self._switched = True
        self._stream = not self._stream
        return True

    def _raise_for_adaptation(self, fault: HTTPError) -> None:
        adaptation = self._api.adaptation(fault, self._prompt)
        if adaptation is None:
            return
        reason = judge(fault).reason
        if adaptation is Adaptation.NO_ITEMS and not self._learned.produced(self._prompt.messages):
            raise MessagesRefused(reason, frozenset({adaptation}))  # only items of another endpoint or key are refused
        self._learned.adaptations.add(adaptation)
        raise MessagesRefused(reason)

    async def _unknown_model(self) -> TransportError | None:
        """Return a better error for a refused model name, if the endpoint's list does not contain it; else None."""
        model = self._prompt.model
        try:
            names = list(await self._catalog.models())
        except Exception:  # noqa: BLE001 - many servers have no such list
            return None
        if not names or model in names:
            return None
        return TransportError(no_such_model(model, self._connection.endpoint.host, names), lasting=True)

    async def _send(self, *, with_usage: bool) -> object:
        """Send the body in the present form, and return that of the reply."""
        body = self._body
        if self._stream:
            body = body | self._api.streamed(with_usage=with_usage)
        elif self._streams_unreadable:  # only if the server's stream cannot be read: some servers refuse the parameter
            body = body | {"stream": False}
        headers = self._headers | {"x-stainless-retry-count": str(self._sent)}
        self._sent += 1
        self._prices.load_soon()
        return await self._connection.post(self._api.path, body, headers, self._on_data, self._api.assembler)
