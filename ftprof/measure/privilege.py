"""Whether this process may read hardware counters, as far as the kernel and the driver tell beforehand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ftprof.measure.kernel_files import read_field, read_text

_CAP_SYS_ADMIN, _CAP_PERFMON = 21, 38  # linux/capability.h
_FIRST_WITH_PERFMON = 565  # the driver branch: developer.nvidia.com/ERR_NVGPUCTRPERM
_WHOLE_UID_MAP = ["0", "0", "4294967295"]  # of the namespace that the kernel itself is in


@dataclass(frozen=True)
class Privilege:
    """Who may read the counters. ``None`` is what could not be read.

    ``cap_sys_admin`` is the capability that the driver asks for, ``cap_perfmon`` the smaller one that drivers from R565
    on take instead; one that holds only inside a user namespace does not count. ``admin_only`` is the driver's
    RmProfilingAdminOnly.
    """

    cap_sys_admin: bool | None
    admin_only: bool | None
    user_namespace: bool
    cap_perfmon: bool | None = False

    @property
    def enough(self) -> bool | None:
        """Whether counters may be read."""
        if self.cap_sys_admin or self.cap_perfmon or self.admin_only is False:
            return True
        refused = self.admin_only and self.cap_sys_admin is False and self.cap_perfmon is False
        return False if refused else None


def look_at_privilege(root: Path) -> Privilege:
    """What the kernel and the driver say of this process's right to read counters. ``root`` is "/" but for tests."""
    effective = read_field(root / "proc/self/status", "CapEff:")
    uid_map = read_text(root / "proc/self/uid_map")
    inside = bool(uid_map) and uid_map.split()[:3] != _WHOLE_UID_MAP
    sys_admin, perfmon = (
        False if inside else None if effective is None else bool(int(effective, 16) >> capability & 1)
        for capability in (_CAP_SYS_ADMIN, _CAP_PERFMON)
    )
    if perfmon:
        branch = _driver_branch(root)
        perfmon = None if branch is None else branch >= _FIRST_WITH_PERFMON
    return Privilege(sys_admin, _admin_only(root), inside, perfmon)


def _driver_branch(root: Path) -> int | None:
    """The first number of the kernel module's version, such as 580."""
    version = read_text(root / "sys/module/nvidia/version") or read_text(root / "proc/driver/nvidia/version")
    found = re.search(r"\b(\d{3,4})\.\d", version)
    return None if found is None else int(found[1])


def _admin_only(root: Path) -> bool | None:
    value = read_field(root / "proc/driver/nvidia/params", "RmProfilingAdminOnly:")
    if value is None:
        folder = root / "sys/module/nvidia/parameters"
        found = read_text(folder / "NVreg_RestrictProfilingToAdminUsers") or read_text(folder / "RmProfilingAdminOnly")
        value = found.strip() or None
    return None if value is None else value not in ("0", "N")
