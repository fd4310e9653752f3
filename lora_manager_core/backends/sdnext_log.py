"""The one thing we look for in SD.Next's log: why a pipeline failed.

An error inside a pipeline is caught on the host, logged, and answered as if somebody had
interrupted the job: HTTP 200, no picture (`modules/processing_diffusers.py` of the host).
"""

from __future__ import annotations

import re
from typing import Any

#: A line of `/sdapi/v1/log` (`modules/logger.py`): looks like JSON, but its quotes are not escaped.
_ERROR = re.compile(
    r'"asctime":"(?P<time>[\d\- :]+)[^{}]*"level":"ERROR", "module":"processing[^{}]*'
    r'"msg":"Processing[ :](?P<said>.*)" }',
    re.DOTALL,
)


def pipeline_error(lines: Any, since: str) -> str | None:
    """What the last pipeline error said, if it came at `since` or later, else None.

    `since` is the job's `job_timestamp` (`20260723142501`), by the host's clock as the log is.
    """
    for line in reversed(lines if isinstance(lines, list) else []):
        found = _ERROR.search(str(line))
        if found is not None:
            at = re.sub(r"\D", "", found["time"])[: len(since)]
            # the arguments of the call stand in braces before the message
            return found["said"].rpartition("} ")[2] if at >= since else None
    return None
