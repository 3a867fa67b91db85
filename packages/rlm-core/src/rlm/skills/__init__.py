"""Skills, on the host's side: find them, list them in the prompt, and count their calls."""

from rlm.skills.call_counts import CALLS, CallLog, called
from rlm.skills.discovery import Place, Skills, find_skills
from rlm.skills.notes import Note, notes_for, one_line
from rlm.skills.prompt_context import PromptContext

__all__ = [
    "CALLS",
    "CallLog",
    "Note",
    "Place",
    "PromptContext",
    "Skills",
    "called",
    "find_skills",
    "notes_for",
    "one_line",
]
