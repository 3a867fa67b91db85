"""The token data of a reply in a journal, in the terms that trainers share: ids, and log probabilities.

Servers use different names; docs/sessions.md lists them. Invalid values are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from rlm.core.messages import Wire

_COMPLETION = ("token_ids", "completion_token_ids", "response_token_ids", "output_token_ids", "output_ids")
_ID_AS_TEXT = "token_id:"  # vLLM with return_tokens_as_token_ids


@dataclass(frozen=True, slots=True)
class TokenData:
    """Token data of one reply. Empty: not known. `logprobs` has one value for each token of the completion."""

    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: list[float]

    def wire(self) -> Wire:
        """The known data, with the names of ATIF."""
        named = {
            "prompt_token_ids": self.prompt_ids,
            "completion_token_ids": self.completion_ids,
            "logprobs": self.logprobs,
        }
        return {name: values for name, values in named.items() if values}


def read_token_data(data: Wire) -> TokenData:
    """Read the token data of a record or a turn."""
    meta = _dict(data.get("meta_info"))
    entries = [_dict(entry) for entry in _list(_dict(data.get("logprobs")).get("content"))]
    pairs = [entry for entry in _list(meta.get("output_token_logprobs")) if isinstance(entry, list) and len(entry) > 1]
    ids = (
        *(data.get(name) for name in _COMPLETION),
        *(meta.get(name) for name in _COMPLETION),
        [pair[1] for pair in pairs],
        [_id_of(entry) for entry in entries],
    )
    completion = _first(map(_ids, ids))
    logprobs = _first(map(_numbers, ([entry.get("logprob") for entry in entries], [pair[0] for pair in pairs])))
    whole = not completion or len(completion) == len(logprobs)
    return TokenData(_ids(data.get("prompt_token_ids")), completion, logprobs if whole else [])


def _id_of(entry: Wire) -> Any:
    text = str(entry.get("token"))
    digits = text.removeprefix(_ID_AS_TEXT)
    return int(digits) if digits != text and digits.isdecimal() else entry.get("token_id")


def _first(found: Iterable[list[Any]]) -> list[Any]:
    return next(filter(None, found), [])


def _ids(values: Any) -> list[int]:
    """The ids, if all are valid; otherwise none."""
    ids = [value for value in _list(values) if type(value) is int and 0 <= value < 1 << 63]
    return ids if len(ids) == len(_list(values)) else []


def _numbers(values: list[Any]) -> list[float]:
    numbers = [float(value) for value in values if type(value) in (int, float) and isfinite(value)]
    return numbers if len(numbers) == len(values) else []


def _dict(value: Any) -> Wire:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
