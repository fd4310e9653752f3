"""Encrypted archives that are damaged, or encrypted in part."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import pyzipper

from lora_manager_core.import_export.archive.format import (
    file_member,
)
from tests.fakes.hostile.base import Hostile, aes, of
from tests.fakes.raw_zip import RawMember, raw_zip
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    model,
    own_members,
    sealed,
)


def encrypted() -> Iterator[Hostile]:
    """Encrypted archives; `secret` is the password."""
    whole = aes(sealed(own_members()))
    yield of("encryption: no password", whole, "give its password")
    yield of("encryption: wrong password", whole, "does not open", password="wrong")
    damaged = bytearray(whole)
    place = whole.find(file_member(ADAPTER_ID, "ink.safetensors").encode())
    damaged[place + 200] ^= 1
    yield of("encryption: changed contents", bytes(damaged), "changed", "contents", "secret")
    damaged = bytearray(whole)
    damaged[whole.find(b"manifest.json") + 60] ^= 1
    yield of("encryption: changed manifest", bytes(damaged), "changed", password="secret")
    mixed = io.BytesIO()
    with pyzipper.AESZipFile(mixed, "w") as made:
        made.writestr("plain.safetensors", model())
        made.setpassword(b"secret")
        made.setencryption(pyzipper.WZ_AES)
        made.writestr("secret.safetensors", model(1))
    yield of("encryption: of some members", mixed.getvalue(), "some of its", password="secret")
    other = io.BytesIO()
    with pyzipper.AESZipFile(other, "w", encryption=pyzipper.WZ_AES) as made:
        for name, password in (("a.safetensors", b"secret"), ("b.safetensors", b"another")):
            made.setpassword(password)
            made.writestr(name, model())
    yield of(
        "encryption: two passwords", other.getvalue(), "another password", "contents", "secret"
    )
    described = struct.pack("<2HH2sBH", 0x9901, 7, 2, b"AE", 9, 0)
    yield of(
        "encryption: of an unknown strength",
        raw_zip([RawMember("a.safetensors", model(), method=99, flags=0x801, extra=described)]),
        "unknown kind",
        password="secret",
    )
    described = struct.pack("<2HH2sBH", 0x9901, 7, 2, b"AE", 3, 0)
    yield of(
        "encryption: shorter than its salt",
        raw_zip([RawMember("a", b"x", method=99, flags=0x801, extra=described, size=0)]),
        "shorter than its encryption",
        password="secret",
    )
    yield of(
        "encryption: said, and not there",
        raw_zip([RawMember("a.safetensors", bytes(60), method=99, flags=0x800, extra=described)]),
        "encrypted and says that it is not",
        password="secret",
    )
    yield of(
        "encryption: not described",
        raw_zip([RawMember("a.safetensors", model(), method=99, flags=0x801)]),
        "description of its encryption",
        password="secret",
    )
