"""Titles to addresses."""

import re
import unicodedata


def slug(title: str) -> str:
    """`The Cat's Cradle!` becomes `the-cats-cradle`."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    plain = plain.lower().replace("'", "")
    return re.sub(r"[^a-z0-9]", "-", plain)
