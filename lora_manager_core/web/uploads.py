"""Uploaded files, streamed straight into a folder of ours.

Starlette would collect them in the system's folder for temporary files, which may be memory. Names
that come with the parts are for people only; no path is ever made of them.
"""

from __future__ import annotations

import errno
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeVar

from anyio.to_thread import run_sync
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from lora_manager_core.common.files import remove_files
from lora_manager_core.errors import DiskFull, InvalidRequest, StorageFailed
from lora_manager_core.web.deps import ServiceRegistry

#: Parts of one request, files and fields together.
_MOST_PARTS = 1000
#: All fields of one request together, in bytes; a list of 10,000 decisions has 1 MB.
_MOST_FIELD_BYTES = 8 * 2**20
#: What is handed to the writing thread at once.
_PIECE = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: An upload that nobody has written to for so long was left by a process that died.
_OLD_S = 3600.0

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(slots=True)
class UploadedFile:
    """One file of a request: the name it came with, for people, and where it lies."""

    name: str
    path: Path


@dataclass(slots=True)
class Upload:
    """The parts of one request. What is still in `files` at its end is removed."""

    files: list[UploadedFile] = field(default_factory=list)
    fields: dict[str, bytes] = field(default_factory=dict)

    def json(self, name: str, model: type[_Model]) -> _Model:
        """A field that holds JSON; without it, the model's defaults.

        Raises:
            RequestValidationError: it does not fit the model.
        """
        try:
            return model.model_validate_json(self.fields.get(name, b"{}"))
        except ValidationError as error:
            problems = [
                {**problem, "loc": ("body", name, *problem["loc"])}
                for problem in error.errors(include_url=False, include_input=False)
            ]
            raise RequestValidationError(problems) from error


class UploadFolder:
    """Where uploads lie until the job they are for has ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self) -> Path:
        """A path for a new file; its folder is made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{uuid.uuid4().hex}.upload"

    def path_of(self, name: str) -> Path:
        """The upload of that file name."""
        return self._folder / Path(name).name

    def free_bytes(self) -> int:
        """How much room there is."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self._folder).free

    def remove_leftovers(self, needed: Collection[str]) -> None:
        """Remove old uploads but those of these file names."""
        if not self._folder.is_dir():
            return
        for path in self._folder.glob("*.upload"):
            with suppress(OSError):  # gone already
                if path.name not in needed and time.time() - path.stat().st_mtime > _OLD_S:
                    remove_files([path])


class ReceivedUpload:
    """`Annotated[Upload, Depends(ReceivedUpload("files"))]`: the multipart body of this request.

    `names` are the parts that hold files, `fields` those that hold anything else. Asynchronous,
    because the body is read here as it comes.
    """

    def __init__(self, names: Collection[str], fields: Collection[str]) -> None:
        self._names = names
        self._fields = fields

    async def __call__(self, request: Request) -> AsyncIterator[Upload]:
        """Read the body.

        Raises:
            InvalidRequest: it is no multipart body, is broken, or breaks off.
            HTTPException: 413, it has more than the disk can take; 415, it is of another type.
            StorageFailed: it cannot be written.
        """
        registry: ServiceRegistry = request.app.state.services
        folder = registry.get(UploadFolder)
        upload = Upload()
        try:
            free = await run_sync(folder.free_bytes)
            length = request.headers.get("content-length", "0")
            if length.isdigit() and int(length) > free:
                raise _too_large(free)
            body = _Body(_boundary(request), folder, upload, self._names, self._fields)
            try:
                await _read(request, body, free)
            finally:
                await run_sync(body.close)
            yield upload
        finally:
            await run_sync(remove_files, [file.path for file in upload.files])


async def _read(request: Request, body: _Body, limit: int) -> None:
    seen = 0
    piece = bytearray()
    try:
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > limit:
                raise _too_large(limit)
            piece += chunk
            if len(piece) >= _PIECE:
                await run_sync(body.feed, bytes(piece))
                piece.clear()
    except ClientDisconnect as gone:
        raise InvalidRequest("The upload broke off; send it again.") from gone
    await run_sync(body.feed, bytes(piece))
    if not body.ended:
        raise InvalidRequest("The multipart body is cut off; send it again.")


def _boundary(request: Request) -> bytes:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise HTTPException(415, "Send the files as multipart/form-data.")
    if not options.get(b"boundary"):
        raise InvalidRequest("The Content-Type names no boundary; send multipart/form-data.")
    return options[b"boundary"]


def _too_large(free: int) -> HTTPException:
    return HTTPException(
        413, f"The upload is larger than the {free // 2**20} MiB that are free in the data folder."
    )


class _Body:
    """Takes the body piece by piece and writes its files; used by one thread at a time."""

    def __init__(
        self,
        boundary: bytes,
        folder: UploadFolder,
        upload: Upload,
        names: Collection[str],
        fields: Collection[str],
    ) -> None:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser

        self._folder = folder
        self._upload = upload
        self._names = names
        self._fields = fields
        self._refused = FormParserError
        self.ended = False
        self._parts = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._target: IO[bytes] | None = None
        self._field = ""
        self._field_bytes = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header[0].extend(
                        data[start:end]
                    ),
                    "on_header_value": lambda data, start, end: self._header[1].extend(
                        data[start:end]
                    ),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open,
                    "on_part_data": self._write,
                    "on_part_end": self._end,
                    "on_end": self._end_all,
                },
            )
        except FormParserError as error:
            raise InvalidRequest("The boundary of the multipart body is too long.") from error

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        if self.ended:
            return  # an epilogue, which means nothing
        try:
            self._parser.write(data)
        except self._refused as error:
            raise InvalidRequest("The multipart body is broken; send it again.") from error
        except OSError as error:
            if error.errno in _FULL:
                raise DiskFull("The disk of the data folder is full; free some space.") from error
            raise StorageFailed(
                f"The upload cannot be written to the data folder: {error.strerror or error}."
            ) from error

    def close(self) -> None:
        """Close a file that is still open."""
        if self._target is not None:
            self._target.close()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise InvalidRequest(f"A request has at most {_MOST_PARTS} parts; send several.")
        self._disposition = b""

    def _end_header(self) -> None:
        name, value = self._header
        if bytes(name).strip().lower() == b"content-disposition":
            self._disposition = bytes(value)
        name.clear()
        value.clear()

    def _open(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise InvalidRequest("A part of the multipart body has no name.")
        if name in self._fields:
            if name in self._upload.fields:
                raise InvalidRequest(f"The multipart body has more than one part `{name}`.")
            self._field = name
            self._target = BytesIO()
        elif name in self._names:
            shown = options.get(b"filename", b"").decode("utf-8", "replace")
            file = UploadedFile(shown.replace("\0", "")[:255] or "archive", self._folder.new())
            self._target = file.path.open("xb")
            self._upload.files.append(file)
        else:
            known = ", ".join(f"`{known}`" for known in (*self._names, *self._fields))
            raise InvalidRequest(f"A part of the multipart body is none of {known}.")

    def _write(self, data: bytes, start: int, end: int) -> None:
        assert self._target is not None
        if isinstance(self._target, BytesIO):
            self._field_bytes += end - start
            if self._field_bytes > _MOST_FIELD_BYTES:
                raise HTTPException(413, "The fields of the multipart body are too large.")
        self._target.write(memoryview(data)[start:end])

    def _end(self) -> None:
        target: Any = self._target
        self._target = None
        if isinstance(target, BytesIO):
            self._upload.fields[self._field] = target.getvalue()
        if target is not None:
            target.close()

    def _end_all(self) -> None:
        self.ended = True
