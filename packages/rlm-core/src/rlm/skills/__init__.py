"""Skills, on the host's side: find them, list them in the prompt, and count their calls."""

from rlm.skills.call_counts import CALLS, CallLog, count_calls
from rlm.skills.discovery import Skills, SkillSearch, find_skills
from rlm.skills.notes import Note, notes_for, one_line
from rlm.skills.prompt_context import PromptContext

__all__ = [
    "CALLS",
    "CallLog",
    "Note",
    "PromptContext",
    "SkillSearch",
    "Skills",
    "count_calls",
    "find_skills",
    "notes_for",
    "one_line",
]
