"""Skills as the host sees them: what agents are told of them, and how often they are called."""

from rlm.skills.briefing import Briefing, Note, notes_for, one_line
from rlm.skills.calls import CALLS, CallLog, called

__all__ = ["CALLS", "Briefing", "CallLog", "Note", "called", "notes_for", "one_line"]
