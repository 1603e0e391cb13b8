"""Training on several hosts from a program: XGBoost's collective, over this project's cluster.

A host that is lost, or fails, ends the others with its name and the reason.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
from sagemaker_containers.entry_point import wait_for_names
from xgboost import collective

from runtime.formats import Table
from runtime.job.description import Hosts
from runtime.job.failures import AlgorithmError, ContainerError
from runtime.training.cluster import Cluster
from runtime.training.shards import facts

log = logging.getLogger(__name__)
LOCAL_HOSTNAME = "127.0.0.1"


def wait_hostname_resolution(sm_hosts: list[str]) -> None:
    """Wait until every host's name resolves."""
    wait_for_names(sm_hosts)


def _abort(error: ContainerError) -> None:
    """End this process at once: another host was lost while XGBoost waits for it."""
    log.error("%s: %s", type(error).__name__, error)
    logging.shutdown()
    os._exit(error.exit_code)


def _join(hosts: list[str], current_host: str, takes_part: bool) -> tuple[Cluster, list[str]]:
    """Return the cluster and the hosts that take part. Raises UserError when none does."""
    cluster = Cluster(Hosts(current_host, tuple(sorted(hosts))), _abort)
    # Of a program's data only this is known: rows or none. Its columns are its own affair.
    known = Table(np.empty((int(takes_part), 0), np.float32))
    return cluster, list(cluster.agree(facts({"train": known}, validation=False)))


def rabit_run(
    exec_fun: Callable[..., Any],
    args: dict[str, Any],
    include_in_training: bool,
    hosts: list[str],
    current_host: str,
    first_port: int | None = None,
    second_port: int | None = None,
    max_connect_attempts: int | None = None,
    connect_retry_timeout: int = 10,
    update_rabit_args: bool = False,
) -> None:
    """Call `exec_fun(**args)` on every host that has data, within XGBoost's collective.

    `update_rabit_args` adds `is_master`. A host without data leaves with exit code 0. Ports and
    attempts are accepted and not needed: hosts wait for each other.
    """
    with ExitStack() as stack:
        members = [current_host] if include_in_training else []
        if len(hosts) > 1:
            cluster, members = _join(hosts, current_host, include_in_training)
            stack.push(_leaving(cluster))
        if not include_in_training:
            log.warning("host %s has no data and takes no part in training", current_host)
            stack.close()
            sys.exit(0)
        if len(members) > 1:
            stack.enter_context(cluster.joined())
        extra = {"is_master": current_host == members[0]} if update_rabit_args else {}
        args.update(extra)
        exec_fun(**args)


def _leaving(cluster: Cluster) -> Callable[..., None]:
    """Return what says at the end how this host's part went."""

    def leave(kind: type[BaseException] | None, error: object, trace: object) -> None:
        failed = kind is not None and not issubclass(kind, SystemExit)
        cluster.leave(AlgorithmError(f"{kind.__name__}: {error}") if failed and kind else None)

    return leave


class RabitHelper:
    """What a program is told inside `with Rabit(...)`."""

    def __init__(self, is_master: bool, current_host: str, master_port: int) -> None:
        self.is_master, self.current_host = is_master, current_host
        self.master_port = master_port
        self.rank, self.world_size = collective.get_rank(), collective.get_world_size()

    def synchronize(self, data: Any) -> list[Any]:
        """Return what each host gave, in the order of their ranks."""
        return [collective.broadcast(data, rank) for rank in range(self.world_size)]


class Rabit:
    """XGBoost's collective over `hosts`, as a context."""

    def __init__(
        self,
        hosts: list[str],
        current_host: str | None = None,
        master_host: str | None = None,
        port: int | None = None,
        max_connect_attempts: int | None = None,
        connect_retry_timeout: int = 3,
    ) -> None:
        self.hosts, self.current_host = sorted(hosts), current_host or LOCAL_HOSTNAME
        self.is_master_host = self.current_host == (master_host or self.hosts[0])
        self.port = 9099 if port is None else port
        self._stack = ExitStack()

    def start(self) -> RabitHelper:
        """Join the other hosts."""
        if len(self.hosts) > 1:
            cluster, _ = _join(self.hosts, self.current_host, True)
            self._stack.push(_leaving(cluster))
            self._stack.enter_context(cluster.joined())
        return RabitHelper(self.is_master_host, self.current_host, self.port)

    def stop(self) -> None:
        """Leave them."""
        self._stack.close()

    def __enter__(self) -> RabitHelper:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)
