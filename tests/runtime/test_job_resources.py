"""CPUs and memory of a container: cgroup v1, cgroup v2, none, and the affinity of the process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.job import resources

USABLE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may use 96 CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(96)), raising=False)


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    assert resources.cpu_count(tmp_path) == USABLE


@pytest.mark.usefixtures("affinity")
@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("max 100000\n", 96),
        ("", 96),
    ],
)
def test_the_quota_of_cgroup_v2_is_rounded_up(tmp_path: Path, text: str, cpus: int) -> None:
    write(tmp_path, "cpu.max", text)
    assert resources.cpu_count(tmp_path) == cpus


@pytest.mark.usefixtures("affinity")
@pytest.mark.parametrize(("quota", "cpus"), [("400000", 4), ("-1", 96)])
def test_the_quota_of_cgroup_v1(tmp_path: Path, quota: str, cpus: int) -> None:
    write(tmp_path, "cpu/cpu.cfs_quota_us", quota)
    write(tmp_path, "cpu/cpu.cfs_period_us", "100000")
    assert resources.cpu_count(tmp_path) == cpus


def test_a_quota_above_the_affinity_gives_the_affinity(tmp_path: Path) -> None:
    write(tmp_path, "cpu.max", f"{(USABLE + 7) * 100000} 100000")
    assert resources.cpu_count(tmp_path) == USABLE


def test_memory_is_the_machines_without_a_limit(tmp_path: Path) -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert resources.memory_limit(tmp_path) == physical
    write(tmp_path, "memory.max", "max\n")
    assert resources.memory_limit(tmp_path) == physical
    write(tmp_path, "memory/memory.limit_in_bytes", "9223372036854771712")
    assert resources.memory_limit(tmp_path) == physical


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_memory_is_the_cgroups_with_a_limit(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "536870912\n")
    assert resources.memory_limit(tmp_path) == 536870912
