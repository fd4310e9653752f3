"""Which folders lie on drives whose changes the system does not tell: those of other machines."""

from __future__ import annotations

import os

from lora_manager_core.library.changes import is_below

#: File systems behind which another machine, or another kernel, writes (names as psutil has them).
_REMOTE = frozenset((
    "9p", "afpfs", "afs", "ceph", "cifs", "davfs", "drvfs", "fuse.glusterfs", "fuse.rclone",
    "fuse.s3fs", "fuse.sshfs", "glusterfs", "ncpfs", "nfs", "nfs4", "prl_fs", "smb2", "smb3",
    "smbfs", "vboxsf", "virtiofs", "vmhgfs", "webdav",
))  # fmt: skip


def is_remote(folder: str) -> bool:
    """Whether it lies on a network drive; False where nobody can tell."""
    import psutil

    if folder.startswith("\\\\"):
        return True
    real = os.path.realpath(folder)
    try:
        drives = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError):
        return False
    holding = [drive for drive in drives if is_below(real, drive.mountpoint)]
    if not holding:
        return False
    drive = max(holding, key=lambda drive: len(drive.mountpoint))
    return drive.fstype.lower() in _REMOTE or "remote" in drive.opts.split(",")
