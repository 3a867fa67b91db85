"""Patterns for the error texts of providers and gateways, in lower case. Pure data."""

from __future__ import annotations

import re


class _LazyPattern:
    """A regular expression, compiled when it is first needed: most runs see no error of a provider."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def search(self, text: str) -> re.Match[str] | None:
        return re.search(self._pattern, text)


_OVERFLOW = (
    r"maximum context length",  # OpenAI, vLLM, OpenRouter, DeepSeek, Mistral
    r"context_length_exceeded",
    r"context[_ ](window|length|size) (is )?exceeded",
    r"contextwindowexceeded",  # LiteLLM
    r"exceeds? (the |its )?(model'?s? )?(maximum |available )?context",  # OpenAI's Responses, llama.cpp, Ollama
    r"exceed_context_size",
    r"exceed context limit",  # Anthropic, with max_tokens
    r"context window exceeds",  # MiniMax
    r"(prompt|input|request|conversation) is too (long|large)",  # Anthropic, Bedrock, Fireworks
    r"request entity too large",
    r"request (body )?too large",
    r"longer than the (maximum model|model'?s (maximum )?context) length",  # vLLM, SGLang
    r"maximum (prompt|input|sequence) length",  # xAI
    r"input token count.{0,40}(exceeds|only supports)",  # Gemini, Vertex
    r"token count of \d+ exceeds",  # GitHub
    r"exceeded model token limit",  # Moonshot
    r"too many tokens",  # Cohere
    r"tokens in (the )?request more than max",  # Zhipu
    r"`inputs`.{0,40} must (be <= \d|have less than \d+ tokens)",  # TGI, Together
    r"range of input length should be",  # DashScope
    r"reduce the length of (the|your) (messages|prompt|input)",  # Groq, Cerebras, OpenAI
    r"than the context length|context length of only",  # LM Studio
    r"when context the overflows|context overflow",
)

OVERFLOW = _LazyPattern("|".join(_OVERFLOW))
NEVER_FITS = _LazyPattern(r"request too large for")  # one request is above the limit of tokens per minute
_MEANS = r"(quota|credits?|balance|funds|allowance|allocation|budget)"
_IS = r"( (is|are|has|have|been|was|were|already|currently|fully|all|now))*"
_SPENT = (
    r"(exceeded|exhausted|depleted|used up|run out|reached|hit|insufficient|not enough|too low|empty|negative|below)"
)
_OF_A_PLAN = (
    r"\b(monthly|weekly|daily|yearly|annual|month|week|billing( cycle| period)?|subscription|plan|trial|usage|key"
    r"|spend(ing)?|credits?|hard|included|premium|prepaid)('s)?"
    rf"( (?!rate\b)[\w']+)? ({_MEANS}|limits?|caps?)"
)
_QUOTA = (
    rf"(\b(insufficient|not enough|out of|used up|depleted|used all|no (more|remaining|available))|(\bnot|n't) have"
    rf" (enough|sufficient|any)) ([\w']+ ){{0,3}}?{_MEANS}\b",
    r"\b(more|additional) (credits|funds)\b",
    rf"\bno {_MEANS} (left|remaining|available)|insufficient{_MEANS}",
    rf"\b(credits?|balance|funds|allowance)( limit| cap)?{_IS} {_SPENT}",
    rf"\bquota{_IS} (exhausted|depleted|used up|insufficient|not enough|spent)",
    rf"\b(account|organi[sz]ation|team|user|token|allocated) quota{_IS} exceeded",
    rf"{_OF_A_PLAN}{_IS} {_SPENT}",
    rf"\b(reached|exceed(ed|s)?|exhausted|hit|over|used up)( all)?( [\w']+){{0,4}} {_OF_A_PLAN}\b",
    r"\b(reached|exceeded|exhausted|hit|used up) (your |the )?(current )?(quota|budget|allowance|plan|spend)\b(?! for)",
    r"check your (plan and )?billing|billing (hard limit|not active|to be enabled)|spend(ing)? (limit|cap)\b",
    r"budget.{0,20}exceeded|exceeded.?budget|over budget|exceeds? (the |your )?budget|max budget",  # LiteLLM
    r"\b(top up|recharge|(add|buy|purchase) (credits|funds))|payment (is )?required|arrears?\b",
    r"arrearage|past due|overdue|unpaid (invoice|bill)|(subscription|trial)( (is|has))? (expired|ended|inactive)",
    r"(calls?|requests?|tokens?) (/|per|a) month\b|no resource package|allocationquota",
    r"余额不足|欠费|充值|额度(不足|已|用)",
)
QUOTA = _LazyPattern("|".join(_QUOTA))
"""The account has used up its quota. For text in which underscores and hyphens are replaced by blanks."""
CONTENT_FILTER = _LazyPattern(
    r"content_?(filter|policy)|content (filter|management policy|moderation)|responsibleaipolicy"  # Azure, LiteLLM
    r"|violat(es?|ing|ion).{0,40}(policy|policies)|rejected .{0,20}safety system"  # OpenAI
    r"|(input|prompt|output|message|content)\b.{0,20} (was|were|has been) (flagged|blocked)"  # OpenRouter, Google
    r"|prohibited_content|blocked by .{0,20}(safety|guardrail|moderation)|guardrail.{0,20}(intervened|blocked)"
    r"|data_?inspection_?failed|inappropriate content|content exists risk|sensitive (content|information)"  # in China
    r"|contentfilter|敏感"
)
PASSING = _LazyPattern(
    r"retrydelay|\bper (second|sec|minute|min|hour)\b|perminute|(/|\ba) ?(second|sec|minute|min|hour)s?\b|\b[rt]p[ms]\b"
    r"|concurren|(requests?|tokens?) per(?! month)"
)
"""The limit is a rate limit: Gemini's text also mentions billing, and Scaleway's an insufficient quota."""
PLACE = _LazyPattern(
    r"(country|countries|region|territory|location|jurisdiction)\b.{0,60}"
    r"\b((un|not )supported|(not |un)available|not allowed|restricted|prohibited|blocked|banned)"
    r"|(not |un)(supported|available|allowed|offered) (in|for|from) (your|this|the) "
    r"(current )?(country|region|territory|location)|unsupported (country|region|location)|geo ?(block|restrict|fenc)"
)
"""The reason is the client's location. For text in which underscores and hyphens are replaced by blanks."""
FIREWALL = _LazyPattern(
    r"attention required|just a moment|cloudflare|access denied|(been|are) blocked|captcha|incapsula|imperva|akamai"
    r"|web application firewall|request blocked|error code:? ?10\d\d"
)
"""A web page instead of an API error: a firewall before the server refuses the client."""
BAD_KEY = _LazyPattern(r"(invalid|incorrect|no|missing) api[ _-]?key|api[ _-]?key (is )?(not valid|invalid|missing)")
UNKNOWN_MODEL = _LazyPattern(
    r"\b(model|deployment)\b[^.;]{0,100}?( not found|\bnot exist|n't exist|\bnot available|\bnot supported$)"
    r"|\b(model|deployment) [`'\"\w./:@-]+ (is )?(unknown|invalid|not supported)"
    r"|unknown model|invalid model|no such model|not a valid model|could not find (the )?model|model_?not_?found"
    r"|api deployment for this resource does not exist|no endpoints found (for|matching)|model.not.exist",
)
TEMPLATE = _LazyPattern(
    r"jinja|(chat|prompt)[_ ]template|templateerror|template[_ ]error|raise_exception|after the optional system"
    r"|roles must alternate|unexpected role|message_order|unable to generate parser|error rendering"
    r"|parse tool call arguments|json\.exception\."
    # llama.cpp, old and new
    r"| at row \d+, column \d+|while executing \w+ at line|\b(lexer|parser): (?s:.{0,200})\.\.\."
    r"|\btemplate: [^:\s]*:\d+(:\d+)?: "  # Go's: Ollama
    r"|\(in (<string>|chat|template|[\w.-]*template[\w.-]*):\d+\)"  # minijinja: TGI, mistral.rs
    # errors of Jinja, and of Python within a template: vLLM, SGLang, mlx-lm
    r"|'dict object' has no attribute|'[\w.]+' is undefined|type undefined is not json serializable"
    r"|can only get item pairs from a mapping|no (filter|test) named '|encountered unknown tag '"
    r"|can only concatenate (str|list) \(not",
)
"""The model's chat template refuses the messages. It refuses the same messages each time."""

PLAIN_HTTP = _LazyPattern(r"http request (was sent )?to (an )?https (port|server)|requires tls")
