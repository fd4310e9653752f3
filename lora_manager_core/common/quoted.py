"""What another program said, in a form that fits into a message of ours."""

from __future__ import annotations

import html
import re

#: Longest text of another program that goes into a message of ours.
_QUOTED_LENGTH = 300
#: How much of it is looked at: markup that is never closed costs the square of its length.
_LOOKED_AT = 10_000


def quoted(text: str) -> str:
    """Text on one line, without markup, cut to what fits in a message."""
    plain = html.unescape(
        re.sub(r"<(script|style)\b.*?</\1>|<[^<>]*>", " ", text[:_LOOKED_AT], flags=re.S | re.I)
    )
    plain = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return plain if len(plain) <= _QUOTED_LENGTH else plain[: _QUOTED_LENGTH - 1] + "…"
