"""Which pictures and clips may show an adapter, told by what they contain, not by their names."""

from __future__ import annotations

from io import BytesIO

from lora_manager_core.errors import Unprocessable, WrongMediaType

#: Ending → media type of everything that is served as a preview.
MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}
#: Endings of clips, of which no small copies are made.
CLIPS = frozenset((".mp4", ".webm"))
#: Largest preview that is taken in, in bytes.
MAX_BYTES = 20 * 2**20

_WRONG = "The preview is no PNG, JPEG, WebP, MP4 or WebM file; convert it, and send it again."


def checked_ending(content: bytes) -> str:
    """The ending for a preview's content, which is looked at; a picture is decoded in part.

    Sources: the signatures in RFC 2083 (PNG), ITU-T T.81 (JPEG), RFC 9649 (WebP), ISO/IEC 14496-12
    (MP4) and RFC 8794 (WebM's EBML header).

    Raises:
        WrongMediaType: it is nothing of that kind.
        Unprocessable: it begins like a picture but is none, or one too large to be decoded.
    """
    ending = _ending_of(content[:64])
    if ending is None:
        raise WrongMediaType(_WRONG)
    if ending not in CLIPS:
        _check_picture(content)
    return ending


def _ending_of(head: bytes) -> str | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if head.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp":
        return ".mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head:
        return ".webm"
    return None


def _check_picture(content: bytes) -> None:
    from PIL import Image

    try:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as image:
            image.draft("RGB", (64, 64))
            image.load()
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise Unprocessable(
            f"The picture is damaged or too large ({type(error).__name__}); save it anew."
        ) from error
