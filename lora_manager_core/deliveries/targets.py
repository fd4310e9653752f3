"""Where `http` deliveries may go: the allow-list, and which addresses a wildcard may lead to.

A pattern such as `*.example.com` trusts whoever keeps that domain's names. It does not let them
point into this machine or its network: for that, an entry has to name the host itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lora_manager_core.errors import SettingsConflict, TargetNotAllowed

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_ENTRY = re.compile(r"(?P<any>\*\.)?(?P<host>\[[^\[\]]+\]|[^:\[\]*]+)(?::(?P<port>\d{1,5}))?")
#: Underscores, since container networks name their hosts so.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
#: How resolvers recognise other spellings of an IPv4 address: `127.1`, `0x7f000001`.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_LONGEST_NAME = 253

#: Where every public IPv6 address lies (RFC 4291, section 2.4).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: An IPv4 address behind a translator (RFC 6052, section 2.1): its last four bytes.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A host in its one spelling (see `canonical_host`), and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


class AllowedTargets:
    """The entries of the setting `http_targets`.

    `host`, `host:port`, `*.domain`, `*.domain:port`; IPv6 addresses stand in brackets. Without a
    port, every port is meant.

    Raises:
        SettingsConflict: an entry is none of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._rules = [_parse(entry) for entry in entries]

    def require(self, target: Target) -> None:
        """Raise `TargetNotAllowed` for a target that no entry stands for."""
        if not self._rules:
            raise TargetNotAllowed(
                "Deliveries over HTTP are switched off: the setting http_targets "
                "(LORA_MANAGER_HTTP_TARGETS) names the hosts they may go to, and it is empty."
            )
        if not any(rule.matches(target) for rule in self._rules):
            raise TargetNotAllowed(
                f"{target} is not among the targets that deliveries may go to; "
                "add it to the setting http_targets (LORA_MANAGER_HTTP_TARGETS)."
            )

    def require_addresses(self, target: Target, addresses: Sequence[str]) -> None:
        """Raise `TargetNotAllowed` where only a pattern allows a host that is not out there."""
        self.require(target)
        if any(rule.matches(target) and not rule.below for rule in self._rules):
            return
        for address in addresses:
            if not is_public(ipaddress.ip_address(address)):
                raise TargetNotAllowed(
                    f"{target.host} leads to {address}, which is not a public address. If that is "
                    f"meant, name the host itself in http_targets: {target}."
                )


@dataclass(frozen=True, slots=True)
class _Rule:
    host: str
    port: int | None
    below: bool

    def matches(self, target: Target) -> bool:
        if self.port not in (None, target.port):
            return False
        if self.below:
            return target.host.endswith("." + self.host)
        return target.host == self.host


def _parse(entry: str) -> _Rule:
    found = _ENTRY.fullmatch(entry)
    port = int(found["port"]) if found and found["port"] else None
    try:
        if found is None or not (port is None or 1 <= port <= 65_535):
            raise ValueError("it is not of that form")
        host, below = canonical_host(found["host"]), found["any"] is not None
        if below and _address(host):
            raise ValueError("an address has nothing below it")
    except ValueError as error:
        raise SettingsConflict(
            f"The setting http_targets has “{entry}”: {error}. "
            "Write host, host:port, *.domain or [IPv6 address]:port."
        ) from error
    return _Rule(host, port, below)


def canonical_host(text: str) -> str:
    """The one spelling of a host: lower case, names in punycode, addresses in their short form.

    Raises:
        ValueError: it is neither a name nor an address; the text says why.
    """
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    address = _address(inside)
    if address is not None and (address.version == 6 or inside is text):
        return str(address)
    name = text.removesuffix(".").lower()
    if not name.isascii():
        import idna  # comes with httpx; here, because its tables take a while to load

        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"the host name is not valid ({error})") from error
    labels = name.split(".")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is neither a host name nor an IP address")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError("an IPv4 address is written as four decimal numbers")
    return name


def bracketed(host: str) -> str:
    """The host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def is_public(address: IPAddress) -> bool:
    """Whether the address is out there, whatever IPv6 wraps around it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _address(text: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None
