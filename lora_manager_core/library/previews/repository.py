"""The query of a preview: a page asks it a hundred times, so it reads one text and no record."""

from __future__ import annotations

from sqlalchemy import select

from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import ReadSession


class PreviewPaths:
    """Where previews lie."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def find(self, adapter_id: str) -> tuple[bool, str | None]:
        """Whether there is such an adapter, and the path of its preview, if it has one."""
        query = select(Adapter.preview_path).where(Adapter.id == adapter_id)
        row = self._session.execute(query).first()
        return row is not None, row.preview_path if row is not None else None
