"""The names on leases: who can tell from them that a process is dead, and who must not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lora_manager_core.queueing.owner import is_dead, new_owner

_PRINT = "from lora_manager_core.queueing.owner import new_owner; print(new_owner(), flush=True)"
#: Prints its name, becomes another program of the same number, prints that one's, and its verdicts.
_EXEC = f"""
import os, sys
{_PRINT}
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, "-c", sys.stdin.read(), new_owner()])
from lora_manager_core.queueing.owner import is_dead
print(is_dead(sys.argv[1]), is_dead(new_owner()))
"""


@contextmanager
def _child() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has told its name and waits, and that name."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"{_PRINT}; input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def _changed(owner: str, **parts: str) -> str:
    names = ("machine", "pid", "start", "image", "lease")
    return "/".join({**dict(zip(names, owner.split("/"), strict=True)), **parts}.values())


class TestNewOwner:
    def test_never_gives_a_name_twice(self) -> None:
        assert len({new_owner() for _ in range(100)}) == 100

    def test_fits_into_its_column(self) -> None:
        assert len(new_owner()) <= 100


class TestIsDead:
    def test_not_the_asking_process_itself(self) -> None:
        assert not is_dead(new_owner())

    def test_a_process_once_it_has_ended(self) -> None:
        with _child() as (child, owner):
            alive = is_dead(owner)
            child.kill()
            child.wait()

            assert (alive, is_dead(owner)) == (False, True)

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no zombies")
    def test_a_process_that_was_killed_and_that_nobody_has_waited_for(self) -> None:
        with _child() as (child, owner):
            child.kill()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still listed

            assert is_dead(owner)

    def test_a_process_whose_number_another_one_has_now(self) -> None:
        with _child() as (_, owner):
            start = float(owner.split("/")[2])

            assert is_dead(_changed(owner, start=f"{start - 60:.2f}"))

    @pytest.mark.skipif(os.name == "nt", reason="Windows starts a new process instead")
    def test_a_process_that_replaced_itself_keeping_its_number(self) -> None:
        ran = subprocess.run(
            [sys.executable, "-c", _EXEC], input=_EXEC, capture_output=True, text=True, check=True
        )

        first, second, verdicts = ran.stdout.splitlines()
        assert first.split("/")[:3] == second.split("/")[:3]
        assert verdicts == "True False"

    def test_not_a_process_of_another_machine(self) -> None:
        with _child() as (child, owner):
            child.kill()
            child.wait()

            assert not is_dead(_changed(owner, machine="0123456789ab"))

    def test_not_a_process_whose_start_could_not_be_read(self) -> None:
        with _child() as (_, owner):
            assert not is_dead(_changed(owner, start="nan"))

    @pytest.mark.skipif(
        os.name == "nt" or os.geteuid() != 0, reason="needs root, to look as another user"
    )
    def test_not_a_process_of_another_user_that_is_hidden(self) -> None:
        """As with `hidepid`: no such folder in /proc, and yet a process of that number."""
        look = (
            "import os, sys; from lora_manager_core.queueing import owner; "
            "name = owner.new_owner().split('/'); name[1] = sys.argv[1]; name[2] = sys.argv[2]; "
            "os.setgroups([]); os.setgid(65534); os.setuid(65534); "
            "print(owner.is_dead('/'.join(name)))"
        )
        with _child() as (child, owner):
            hidden = subprocess.run(
                # in a mount namespace of its own, where /proc shows a user its own processes only
                [
                    "unshare",
                    "--mount",
                    "sh",
                    "-c",
                    'mount -t proc -o hidepid=2 proc /proc && exec "$@"',
                    "sh",
                    *(sys.executable, "-c", look, str(child.pid), owner.split("/")[2]),
                ],
                capture_output=True,
                text=True,
            )
        if "mount" in hidden.stderr or "unshare" in hidden.stderr:
            pytest.skip(f"no mount namespace here: {hidden.stderr.strip()}")
        assert hidden.stdout.strip() == "False", hidden.stderr

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("", id="nothing"),
            pytest.param("a process of which nothing is known", id="words"),
            pytest.param("a/b/c/d/e", id="words for numbers"),
            pytest.param("////", id="empty parts"),
        ],
    )
    def test_not_what_is_no_name_of_ours(self, name: str) -> None:
        assert not is_dead(name)

    def test_not_a_name_with_a_part_too_many_or_a_broken_number(self) -> None:
        owner = new_owner()

        assert not is_dead(f"{owner}/more")
        assert not is_dead(_changed(owner, pid="x"))
        assert not is_dead(_changed(owner, start="x"))
