"""The CPUs and the memory that this container may really use, and its processes."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
# Numeric libraries read these when they are loaded, so a process sets them for its children.
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
THREADS = (BLAS_THREADS, "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# glibc gives large blocks back at once and gets them as pages to be zeroed again: a third of the
# time of a request of 10,000 rows. A worker keeps up to 32 MB for the next one. See mallopt(3).
MALLOC = {"MALLOC_MMAP_THRESHOLD_": f"{8 << 20}", "MALLOC_TRIM_THRESHOLD_": f"{32 << 20}"}
# How often an OpenMP thread looks for work before it sleeps. GCC's default, 300,000 times, makes
# training many times slower when something else needs the CPUs, and 2 % faster when nothing does.
OPENMP_SPINS = ("GOMP_SPINCOUNT", "1000")
UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2**63 where v2 writes "max"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _quota(root: Path) -> float:
    """Return the CPU quota of the cgroup in CPUs; infinity without one."""
    v2 = _read(root / "cpu.max").split()
    if len(v2) == 2 and v2[0] != "max":
        return int(v2[0]) / int(v2[1])
    quota = _read(root / "cpu" / "cpu.cfs_quota_us")
    period = _read(root / "cpu" / "cpu.cfs_period_us")
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return math.inf


def cpu_count(root: Path = CGROUP) -> int:
    """Return how many CPUs this process may use: affinity or cgroup quota, whichever is lower.

    `os.cpu_count()` counts the host's CPUs: a container limited to 2 of 96 would start 96 workers.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(available, _quota(root))))


def gpu_count(devices: Path = Path("/dev")) -> int:
    """Return how many NVIDIA GPUs this container has been given."""
    return sum(1 for path in devices.glob("nvidia*") if path.name[len("nvidia") :].isdigit())


def memory_limit(root: Path = CGROUP) -> int:
    """Return the memory that this container may use, in bytes: cgroup limit or physical memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_read(root / "memory.max"), _read(root / "memory" / "memory.limit_in_bytes")]
    found = [int(text) for text in limits if text.isdigit() and int(text) < UNLIMITED]
    return min([physical, *found])


def alive(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
