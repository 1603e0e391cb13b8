"""Shared fixtures: a temporary /opt/ml, small models of many objectives, and the real server.

The server is `program/serve` on this machine, or, with CONTRACT_IMAGE=NAME, that image in Docker.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from locations import PROGRAM

COLUMNS = 5
PROCESSES = "grep -sa '' /proc/[0-9]*/stat /proc/[0-9]*/cmdline || true"  # some end meanwhile
BEATS = "ls /dev/shm/serve-*/beats ${TMPDIR:-/tmp}/serve-*/beats 2>/dev/null || true"
CGROUP = "cat /sys/fs/cgroup/memory/memory.stat 2>/dev/null || cat /sys/fs/cgroup/memory.stat"
# The longest files, which run first: dealt out last, one of them would leave the other processes
# idle. Those that wait, compute and load servers alternate.
LONGEST = (
    "test_training_hosts.py",
    "test_benchmarks.py",
    "test_deploy_commands.py",
    "test_framework_modules.py",
    "test_serving_life.py",
    "test_serving_models.py",
    "test_framework_serving.py",
    "test_server_stopping.py",
    "test_serving_spread.py",
    "test_training_checkpoints.py",
    "test_serving_contract.py",
    "test_framework_training.py",
    "test_server_health.py",
    "test_deploy_faults.py",
    "test_acceleration_forks.py",
    "test_acceleration_random.py",
    "test_serving_fuzz.py",
    "test_sample.py",
)
PARAMETERS: dict[str, dict[str, Any]] = {
    "binary:logistic": {},
    "binary:logitraw": {},
    "binary:hinge": {},
    "multi:softprob": {"num_class": 3},
    "multi:softmax": {"num_class": 3},
    "reg:squarederror": {},
    "count:poisson": {},
    "rank:ndcg": {},
    "survival:aft": {},
    "survival:cox": {},
}


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten the ids that pytest makes of bodies: one of megabytes fills logs and caches."""
    if not isinstance(val, bytes | str):
        return None
    text = ascii(val[:60])
    return text[:60] if len(val) > 60 or len(text) > 60 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; skip what only nginx does where there is none.

    In an image it is always there.
    """
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    if os.environ.get("CONTRACT_IMAGE") or shutil.which("nginx"):
        return
    if os.environ.get("REQUIRE_NGINX"):
        raise pytest.UsageError("nginx is not on PATH, and REQUIRE_NGINX asks for it")
    for item in items:
        if item.get_closest_marker("nginx"):
            item.add_marker(pytest.mark.skip(reason="nginx is not on PATH"))


def sample_rows(count: int = 400, seed: int = 7) -> np.ndarray:
    """Return float32 rows, some cells missing; the numbers have few digits, so text keeps them."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, COLUMNS)).round(3).astype(np.float32)
    rows[generator.random(rows.shape) < 0.05] = np.nan
    return rows


def train(objective: str, *, rounds: int = 8, seed: int = 7, **options: Any) -> xgboost.Booster:
    """Train a small real model of `objective` on rows that mean something."""
    rows = sample_rows(seed=seed)
    filled = np.nan_to_num(rows)
    signal_ = filled[:, 0] - filled[:, 1] + 0.5 * filled[:, 2] * filled[:, 3]
    data = xgboost.DMatrix(rows, nthread=1)
    if objective.startswith("binary"):
        data.set_label(signal_ > 0)
    elif objective.startswith("multi"):
        data.set_label(np.digitize(signal_, [-0.7, 0.7]))
    elif objective.startswith("rank"):
        data.set_label(np.digitize(signal_, [-0.7, 0.7]))
        data.set_group([40] * 10)
    elif objective == "survival:aft":
        data.set_float_info("label_lower_bound", np.exp(signal_ / 3))
        data.set_float_info("label_upper_bound", np.exp(signal_ / 3))
    elif objective.startswith(("count", "survival")):
        data.set_label(np.abs(signal_).round() + 1)
    else:
        data.set_label(signal_)
    parameters = {"objective": objective, "max_depth": 4, "nthread": 1, "seed": seed}
    return xgboost.train(parameters | PARAMETERS.get(objective, {}) | options, data, rounds)


def save(booster: xgboost.Booster, folder: Path, name: str = "xgboost-model") -> Path:
    """Save a model in UBJSON under the name that training gives it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(booster.save_raw("ubj"))
    return folder


def to_csv(rows: np.ndarray) -> bytes:
    """Return rows as csv; a missing cell is empty."""
    lines = (",".join("" if np.isnan(cell) else repr(float(cell)) for cell in row) for row in rows)
    return ("\n".join(lines) + "\n").encode()


@dataclass
class Response:
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)

    def numbers(self) -> np.ndarray:
        """Return a csv body as floats."""
        lines = self.body.decode().splitlines()
        return np.array([[float(cell) for cell in line.split(",")] for line in lines])


def wait_until(
    condition: Callable[[], bool], seconds: float = 10.0, about: Callable[[], str] = str
) -> None:
    """Wait for a condition; fail with what `about` says."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds} s:\n{about()}"
        time.sleep(0.05)


@dataclass
class Server:
    """A running `serve`, on this machine or in a container; process ids are those seen there."""

    port: int
    host: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    container: str = ""  # its name

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        **k: Any,
    ) -> Response:
        """Send one request on its own connection."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=k.pop("timeout", 30))
        try:
            connection.request(method, path, body, headers or {}, **k)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def post(self, body: Any, content_type: str | None = "text/csv", **headers: str) -> Response:
        """Post to /invocations; an underscore in a header's name stands for a hyphen."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        if content_type is not None:
            named["Content-Type"] = content_type
        return self.request("POST", "/invocations", body, named)

    def output(self) -> str:
        """Return what the server has logged."""
        assert self.log is not None
        return self.log.read_text()

    def shell(self, script: str) -> str:
        """Run a script where the server's processes are; in a container as root, who may kill."""
        place = ["docker", "exec", "--user=0", self.container] if self.container else []
        done = subprocess.run([*place, "sh", "-c", script], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode(errors="replace")

    def children(self, name: str) -> dict[int, int]:
        """Return the processes below `serve` whose command line holds `name`, with their parents.

        Zombies are not among them.
        """
        assert self.process is not None
        parents: dict[int, int] = {}
        commands: dict[int, str] = {}
        for line in self.shell(PROCESSES).rstrip("\n").split("\n"):
            path, _, text = line.partition(":")
            _, _, pid, kind = path.split("/")
            if kind == "cmdline":
                commands[int(pid)] = commands.get(int(pid), "") + text.replace("\0", " ")
            else:
                state, above = text.rpartition(")")[2].split()[:2]
                parents[int(pid)] = 0 if state == "Z" else int(above)
        found: dict[int, int] = {}
        level = {1 if self.container else self.process.pid}
        while level:
            below = {pid: above for pid, above in parents.items() if above in level}
            found |= below
            level = set(below)
        return {pid: above for pid, above in found.items() if name in commands.get(pid, "")}

    def workers(self) -> list[int]:
        """Return gunicorn's worker processes."""
        found = self.children("gunicorn")
        return [pid for pid, above in found.items() if above in found]

    def ready(self) -> set[int]:
        """Return the workers that have said, by a heartbeat, that their model answers."""
        beating = {int(name) for name in self.shell(BEATS).split() if name.isdigit()}
        return beating & set(self.workers())

    def run_folder(self) -> str:
        """Return the folder that the server keeps its sockets, heartbeats and metrics in."""
        script = f"tr '\\0' '\\n' </proc/{self.workers()[0]}/environ | sed -n s/^SERVE_RUN=//p"
        return self.shell(script).strip()

    def kill(self, pid: int) -> None:
        """End a process with SIGKILL, as the kernel does when memory is short."""
        self.shell(f"kill -KILL {pid}")

    def memory(self) -> int:
        """Return the kilobytes that all processes have allocated, shared pages counted once.

        Of a container it is what counts against its limit and cannot be dropped: allocated
        memory, and files in memory, by the names of cgroup version 1 or 2.
        """
        if self.container:
            found = dict(line.split() for line in self.shell(CGROUP).splitlines())
            names = ("total_rss", "total_shmem") if "total_rss" in found else ("anon", "shmem")
            return sum(int(found[name]) for name in names) // 1024
        total = 0
        for pid in self.children(""):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in text.splitlines() if "Pss_Anon" in line)
        return total

    def wait_until_ready(self, seconds: float = 40.0) -> Server:
        """Wait for /ping to say 200."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if self.process and self.process.poll() is not None:
                pytest.fail(f"serve ended with {self.process.returncode}:\n{self.output()}")
            try:
                if self.request("GET", "/ping", timeout=2).status == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        pytest.fail(f"no 200 from /ping within {seconds} s:\n{self.output()}")

    def wait_until_refused(self, seconds: float = 40.0) -> Server:
        """Wait for a worker to say why there is no model: nginx first says that it is starting."""
        wait_until(self._refuses, seconds, self.output)
        return self

    def _refuses(self) -> bool:
        with contextlib.suppress(OSError):
            return b"cannot be served" in self.post(b"1,2").body
        return False

    def wait_for(self, text: str, seconds: float = 40.0) -> None:
        """Wait for a text in what the server logs."""
        wait_until(lambda: text in self.output(), seconds, lambda: f"{text!r}:\n{self.output()}")

    def stop(self, seconds: float = 30.0) -> int:
        """Send SIGTERM and return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def local_command(base: Path, port: int, environ: dict[str, str], nginx: bool) -> dict[str, Any]:
    """Return how to start `serve` from the source tree; without `nginx` it finds none on PATH."""
    folders = os.environ["PATH"].split(os.pathsep)
    if not nginx:
        folders = [folder for folder in folders if not Path(folder, "nginx").exists()]
    variables = {
        "NUM_CLASSES": "2",
        "INPUT_FORMAT": "csv",
        **os.environ,
        "PATH": os.pathsep.join(folders),
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        **environ,
    }
    return {"args": [sys.executable, str(PROGRAM / "serve")], "env": variables}


def docker_command(
    image: str, name: str, base: Path, port: int, environ: dict[str, str], host_network: bool
) -> dict[str, Any]:
    """Return how to start `serve` in a container as SageMaker would, and more strictly.

    The other folders of the tests, such as those of several models, are where they are here.
    CONTRACT_OPTIONS may hold more options of `docker run`, such as --user=1000.
    """
    base.chmod(0o755)  # pytest's folders are closed to every other user
    options = [f"-e{key}={value}" for key, value in environ.items()]
    if host_network:
        options += ["--network=host", f"-eSAGEMAKER_BIND_TO_PORT={port}"]
    else:
        options += [f"-p{port}:8080"]
    options += [f"-v{base}:/opt/ml:ro", "--read-only", "--tmpfs=/tmp"]
    options += [f"--name={name}", f"-v{base.parent}:{base.parent}:ro"]
    options += os.environ.get("CONTRACT_OPTIONS", "").split()
    return {"args": ["docker", "run", "--rm", *options, image, "serve"]}


def start_server(
    base: Path, *, nginx: bool = True, host_network: bool = False, **environ: str
) -> Server:
    """Start the real `serve` on a free port with /opt/ml at `base`.

    With `host_network` a container has no proxy of Docker's before it, which accepts clients even
    when nobody listens, and resets them.
    """
    port, image = free_port(), os.environ.get("CONTRACT_IMAGE")
    environ, container = {"WEB_CONCURRENCY": "2", **environ}, ""
    if image:
        if not nginx:
            pytest.skip("the image has nginx")
        container = f"contract-{uuid.uuid4().hex}"
        command = docker_command(image, container, base, port, environ, host_network)
    else:
        command = local_command(base, port, environ, nginx)
    log = base / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(stdout=stream, stderr=stream, **command)
    return Server(port, process=process, log=log, container=container)


@pytest.fixture
def quick_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take oneDAL wherever its answers are XGBoost's, with batches cut and padded.

    Rehearsals and measurements have their own tests; elsewhere they take seconds, and the machine's
    load would decide which engine answers, and in which calls.
    """
    from runtime.acceleration import calls, isolation, tuning

    def plan(engine: Any, rows: np.ndarray) -> None:
        engine.calls = calls.Calls({1: 1e-5, 16: 6e-5, 32: 2e-5, 80: 5e-5})

    monkeypatch.setattr(isolation, "rehearse", lambda booster: "")
    monkeypatch.setattr(tuning, "plan", plan)
    monkeypatch.setattr(tuning, "CHOICE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _quiet_xgboost() -> None:
    """Undo the verbosity of a job that another test ran in this process: XGBoost keeps it."""
    xgboost.set_config(verbosity=1)


@pytest.fixture
def opt_ml(tmp_path: Path) -> Path:
    """A temporary /opt/ml with an empty model folder."""
    (tmp_path / "model").mkdir()
    return tmp_path


@pytest.fixture(scope="session")
def booster() -> Callable[..., xgboost.Booster]:
    """Return `train`, remembering what was trained with the objective alone."""
    known: dict[str, xgboost.Booster] = {}

    def get(objective: str, **options: Any) -> xgboost.Booster:
        if options:
            return train(objective, **options)
        if objective not in known:
            known[objective] = train(objective)
        return known[objective]

    return get


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Return a starter of servers, `launch(base, **environ)`; they end with the module."""
    servers: list[Server] = []

    def start(base: Path | None = None, *, wait: bool = True, **options: Any) -> Server:
        server = start_server(base or tmp_path_factory.mktemp("opt_ml"), **options)
        servers.append(server)
        return server.wait_until_ready() if wait else server

    yield start
    for server in servers:
        assert server.process is not None
        children = [] if server.container else server.children("")
        try:
            server.stop(15)
        except subprocess.TimeoutExpired:
            if server.container:
                subprocess.run(["docker", "kill", server.container], check=False)
            for pid in [*children, server.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.process.wait()


@pytest.fixture(scope="module")
def server(
    launch: Callable[..., Server],
    booster: Callable[..., xgboost.Booster],
    tmp_path_factory: pytest.TempPathFactory,
) -> Server:
    """The server of a binary:logistic model."""
    base = tmp_path_factory.mktemp("opt_ml")
    save(booster("binary:logistic"), base / "model")
    return launch(base)
