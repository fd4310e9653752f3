"""The allow-list: which entries are understood, what they stand for, which addresses are public."""

from __future__ import annotations

import ipaddress

import pytest

from lora_manager_core.deliveries.targets import (
    AllowedTargets,
    Target,
    canonical_host,
    is_public,
)
from lora_manager_core.errors import SettingsConflict, TargetNotAllowed


class TestOneSpelling:
    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            pytest.param("Example.COM", "example.com", id="case"),
            pytest.param("example.com.", "example.com", id="final dot"),
            pytest.param("bücher.example", "xn--bcher-kva.example", id="letters beyond ASCII"),
            pytest.param("faß.de", "xn--fa-hia.de", id="a letter that IDNA 2003 would change"),
            pytest.param("xn--bcher-kva.example", "xn--bcher-kva.example", id="punycode"),
            pytest.param("my_service", "my_service", id="underscore"),
            pytest.param("127.0.0.1", "127.0.0.1", id="IPv4"),
            pytest.param("0:0::0:1", "::1", id="IPv6"),
            pytest.param("[::1]", "::1", id="IPv6 in brackets"),
        ],
    )
    def test_of_a_host(self, written, meant):
        assert canonical_host(written) == meant

    @pytest.mark.parametrize(
        "written",
        [
            "user@example.com",
            "example.com:80",
            "example.com/path",
            "exam ple.com",
            " example.com",
            "example.com\r\nX: y",
            "example.com\0",
            "example.com\n",
            "",
            ".",
            "a..b",
            "-a.example",
            "a" * 64,
            "a." * 150,
            "fe80::1%eth0",
            "[127.0.0.1]",
            "[::1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "①②⑦.⓪.⓪.①.",
            "xn--bcher-kvä.example",
        ],
    )
    def test_is_none_of(self, written):
        with pytest.raises(ValueError, match="host|IPv4"):
            canonical_host(written)

    def test_of_digits_in_circles_is_the_address_they_stand_for(self):
        """IDNA maps them, as browsers do, so the list is asked for the address."""
        with pytest.raises(ValueError, match="IPv4"):
            canonical_host("①②⑦.⓪.⓪.①")


class TestEntries:
    @pytest.mark.parametrize(
        ("entry", "host", "port", "allowed"),
        [
            ("example.com", "example.com", 80, True),
            ("example.com", "example.com", 9000, True),
            ("example.com", "www.example.com", 80, False),
            ("Example.com.", "example.com", 80, True),
            ("bücher.example", "xn--bcher-kva.example", 80, True),
            ("example.com:8080", "example.com", 8080, True),
            ("example.com:8080", "example.com", 80, False),
            ("*.example.com", "a.example.com", 80, True),
            ("*.example.com", "b.a.example.com", 80, True),
            ("*.example.com", "example.com", 80, False),
            ("*.example.com", "badexample.com", 80, False),
            ("*.example.com:8080", "a.example.com", 80, False),
            ("[::1]:8080", "::1", 8080, True),
            ("[0:0::1]", "::1", 1, True),
            ("127.0.0.1:80", "127.0.0.1", 80, True),
            ("127.0.0.1", "::ffff:7f00:1", 80, False),
        ],
    )
    def test_stand_for_targets(self, entry, host, port, allowed):
        targets, target = AllowedTargets([entry]), Target(host, port)
        if allowed:
            targets.require(target)
        else:
            with pytest.raises(TargetNotAllowed, match="http_targets"):
                targets.require(target)

    def test_are_named_when_there_are_none(self):
        with pytest.raises(TargetNotAllowed, match="LORA_MANAGER_HTTP_TARGETS"):
            AllowedTargets([]).require(Target("example.com", 80))

    @pytest.mark.parametrize(
        "entry",
        [
            "http://example.com",
            "example.com/path",
            "user@example.com",
            "*",
            "*.",
            "*example.com",
            "a.*.example.com",
            "*.0.0.1",
            "*.[::1]",
            "*.10.0.0.1",
            "::1",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:http",
            "",
        ],
    )
    def test_that_are_not_understood_are_told_at_start(self, entry):
        with pytest.raises(SettingsConflict, match="http_targets"):
            AllowedTargets([entry])


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2001:0:7f00:1::",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "100::1",
        ],
    )
    def test_of_this_machine_its_network_or_nobody_are_not_public(self, address):
        assert not is_public(ipaddress.ip_address(address))

    @pytest.mark.parametrize(
        "address",
        ["93.184.216.34", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"],
    )
    def test_elsewhere_are_public(self, address):
        assert is_public(ipaddress.ip_address(address))

    def test_that_are_private_need_the_host_to_be_named(self):
        named, pattern = AllowedTargets(["a.example"]), AllowedTargets(["*.example"])
        target = Target("a.example", 80)
        named.require_addresses(target, ["10.0.0.1"])
        pattern.require_addresses(target, ["8.8.8.8"])
        with pytest.raises(TargetNotAllowed, match=r"10\.0\.0\.1"):
            pattern.require_addresses(target, ["8.8.8.8", "10.0.0.1"])

    def test_of_a_host_that_left_the_list_are_refused(self):
        with pytest.raises(TargetNotAllowed):
            AllowedTargets(["b.example"]).require_addresses(Target("a.example", 80), ["8.8.8.8"])
