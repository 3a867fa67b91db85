"""Prices and context windows that providers publish, from genai-prices (`rlm-core[prices]`), offline.

Models are looked up with the endpoint's URL: a `gpt-4o` on a server of another name may be any model.
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
"""Seconds after the start of a request until the lists are loaded, which takes 0.2 s of processor time."""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model in the lists; both are objects of genai-prices."""

    provider: Any
    model: Any

    @property
    def window(self) -> int | None:
        """The context window in tokens."""
        return int(self.model.context_window) if self.model.context_window else None

    def cost(self, body: Any, api: str, usage: Usage, at: datetime) -> float | None:
        """Return the cost of a reply in US dollars; None if its tokens have no price. `body` is the whole reply."""
        tier = body.get("service_tier") if isinstance(body, dict) else None
        context = {"service_tier": tier} if isinstance(tier, str) else None
        price = self.model.calc_price(
            self._counted(body, api, usage), self.provider, genai_request_timestamp=at, price_context=context
        )
        priced = price.model_price.input_mtok is not None or price.model_price.output_mtok is not None
        return round(float(price.total_price), 10) if priced else None

    def _counted(self, body: Any, api: str, usage: Usage) -> Any:
        """Return the token counts of the provider, which may have more kinds than ours; if there are none, ours."""
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


FindModel = Callable[[str], PublishedModel | None]
"""Finds a model by its name."""


class PriceList:
    """The lists for one endpoint. They are loaded once, in a thread; no request waits for them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._url = endpoint.url
        self._public = endpoint.is_public
        self._needed = asyncio.Event()
        self._loading: asyncio.Task[FindModel] | None = None

    def load_soon(self) -> None:
        """Start to load the lists. Called when a request is sent, because there is time while the model works."""
        if self._public and self._loading is None:
            self._loading = asyncio.ensure_future(self._load())

    async def close(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    async def knows(self, model: str) -> bool:
        """Return whether the lists contain the model."""
        return await self._find(model) is not None

    async def window(self, model: str) -> int | None:
        """Return the model's context window in tokens; None: unknown."""
        found = await self._find(model)
        return None if found is None else found.window

    async def priced(self, usage: Usage, model: str, body: Any, api: str) -> Usage:
        """Return the usage with its cost, if the price of the model named in the reply, or else of `model`, is known.

        The name of a deployment or a router stands for another model; the reply names that model.
        """
        named = body.get("model") if isinstance(body, dict) else None
        found = await self._find(*(each for each in (named, model) if each and isinstance(each, str)))
        try:
            return usage if found is None else replace(usage, cost=found.cost(body, api, usage, datetime.now(UTC)))
        except Exception:  # noqa: BLE001 - a provider may send any numbers, and a missing price must not lose the reply
            return usage

    async def _find(self, *names: str) -> PublishedModel | None:
        """Return the first of these models that is in the lists."""
        self.load_soon()
        if self._loading is None:
            return None
        self._needed.set()
        find = await asyncio.shield(self._loading)
        return next(filter(None, map(find, names)), None)

    async def _load(self) -> FindModel:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._needed.wait(), DELAY)
        return await asyncio.to_thread(_read_lists, self._url)


def _read_lists(url: str) -> FindModel:
    if importlib.util.find_spec("genai_prices") is None:
        return lambda _: None
    try:
        from genai_prices.data_snapshot import get_snapshot

        snapshot = get_snapshot()
    except Exception:  # noqa: BLE001 - with a broken genai-prices there are no prices, and the run goes on
        return lambda _: None

    def find(model: str) -> PublishedModel | None:
        try:
            return PublishedModel(*snapshot.find_provider_model(model, None, None, url))
        except LookupError:
            return None

    return find
