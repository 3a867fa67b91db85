"""What providers publish of their models: prices and context windows, by genai-prices (`rlm-core[prices]`), offline.

Models are looked up by the endpoint's URL: a server of another name that has a `gpt-4o` may run anything.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rlm.core.messages import Usage
from rlm.providers.endpoint import Endpoint

DELAY = 0.3
"""Seconds after which the lists are loaded, when a request has left. It takes 0.2 s of a processor."""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model in the lists; both are objects of genai-prices."""

    provider: Any
    model: Any

    @property
    def window(self) -> int | None:
        """Tokens of its context."""
        return int(self.model.context_window) if self.model.context_window else None

    def cost(self, body: Any, api: str, usage: Usage, at: datetime) -> float | None:
        """US dollars for a reply; `body` is all that the provider sent. None: there is no price for its tokens."""
        tier = body.get("service_tier") if isinstance(body, dict) else None
        context = {"service_tier": tier} if isinstance(tier, str) else None
        price = self.model.calc_price(
            self._counted(body, api, usage), self.provider, genai_request_timestamp=at, price_context=context
        )
        priced = price.model_price.input_mtok is not None or price.model_price.output_mtok is not None
        return round(float(price.total_price), 10) if priced else None

    def _counted(self, body: Any, api: str, usage: Usage) -> Any:
        """The tokens as the provider counts them, which may be more kinds than ours; else ours."""
        from genai_prices import Usage as Counted

        if usage.estimated:
            return Counted(input_tokens=usage.prompt, output_tokens=usage.completion)
        for flavor in (api, "default"):
            try:
                return self.provider.extract_usage(body, api_flavor=flavor)[1]
            except (ValueError, TypeError, LookupError):
                continue
        return Counted(
            input_tokens=usage.prompt, output_tokens=usage.completion, cache_read_tokens=min(usage.cached, usage.prompt)
        )


Find = Callable[[str], PublishedModel | None]
"""By the name of a model."""


class PriceList:
    """The lists for one endpoint. They are loaded in a thread, once, and never on the way to a request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._url = endpoint.url
        self._public = endpoint.is_public
        self._needed = asyncio.Event()
        self._loading: asyncio.Task[Find] | None = None

    def load_soon(self) -> None:
        """Called when a request leaves: while the model works, there is time."""
        if self._public and self._loading is None:
            self._loading = asyncio.ensure_future(self._load())

    async def close(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    async def knows(self, model: str) -> bool:
        """Whether there is a price for the model."""
        return await self._find(model) is not None

    async def window(self, model: str) -> int | None:
        """Tokens of the model's context; None: not known."""
        found = await self._find(model)
        return None if found is None else found.window

    async def priced(self, usage: Usage, model: str, body: Any, api: str) -> Usage:
        """The same with its cost, if the price is known of the model that answered, or else of `model`.

        Behind the name of a deployment or a router there is another one, and the reply says which.
        """
        named = body.get("model") if isinstance(body, dict) else None
        found = await self._find(*(each for each in (named, model) if each and isinstance(each, str)))
        try:
            return usage if found is None else replace(usage, cost=found.cost(body, api, usage, datetime.now(UTC)))
        except Exception:  # noqa: BLE001 - a provider may send any numbers, and no price is worth a reply
            return usage

    async def _find(self, *names: str) -> PublishedModel | None:
        """The first of these models that is listed."""
        self.load_soon()
        if self._loading is None:
            return None
        self._needed.set()
        find = await asyncio.shield(self._loading)
        return next(filter(None, map(find, names)), None)

    async def _load(self) -> Find:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._needed.wait(), DELAY)
        return await asyncio.to_thread(_load, self._url)


def _load(url: str) -> Find:
    if importlib.util.find_spec("genai_prices") is None:
        return lambda _: None
    try:
        from genai_prices.data_snapshot import get_snapshot

        snapshot = get_snapshot()
    except Exception:  # noqa: BLE001 - a broken installation of it costs the prices, and not the run
        return lambda _: None

    def find(model: str) -> PublishedModel | None:
        try:
            return PublishedModel(*snapshot.find_provider_model(model, None, None, url))
        except LookupError:
            return None

    return find
