"""Where the smoke test does its steps: in containers of the image, or in a virtual environment.

Standard library only, Python 3.9 and up, as smoke_test.py.
"""

from __future__ import annotations

import collections
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "smoke"
START_SECONDS, STOP_SECONDS, COMMAND_SECONDS = 60, 30, 1800
LAST_LINES = 15
OFFLINE = ("--network", "none")
STRICT = ("--user", "1000:1000", "--read-only", *OFFLINE)
PING = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ping')"
PACK = (
    "import sys, tarfile; tarfile.open(fileobj=sys.stdout.buffer, mode='w|').add('/opt/ml', 'ml')"
)
PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11", "python3")
FITS = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))"


class StepError(Exception):
    """A step did not prove what it should; the message says what."""


class MissingToolError(StepError):
    """This machine lacks something; the project may be all right."""


class Report:
    """Tells a terminal, or a plain log, what happens, and writes all of it to smoke-test.log."""

    def __init__(self, log: IO[str]) -> None:
        self.log, self.live = log, sys.stdout.isatty()
        self.tail: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self.proved: list[tuple[str, float, str]] = []
        self.step = "start"

    def say(self, text: str) -> None:
        """Print a line, and log it."""
        print(text, flush=True)
        self.note(text)

    def note(self, text: str) -> None:
        """Log a line."""
        self.log.write(text + "\n")
        self.log.flush()

    def output(self, text: str) -> None:
        """Log a line of a command, and remember it in case that the step fails."""
        self.tail.append(text)
        self.note("  | " + text)

    def run(self, name: str, action: Callable[[], str]) -> None:
        """Do one step: its time runs on a terminal, its result becomes a line of the table."""
        self.step, start, done = name, time.monotonic(), threading.Event()
        self.tail.clear()
        self.note(f"... {name}")
        ticker = threading.Thread(target=self._tick, args=(name, start, done), daemon=True)
        ticker.start()
        try:
            result = action()
        finally:
            done.set()
            ticker.join()
        seconds = time.monotonic() - start
        self.proved.append((name, seconds, result))
        self.say(f"ok: {name} ({seconds:.1f} s)")

    def _tick(self, name: str, start: float, done: threading.Event) -> None:
        if not self.live:
            print(f"... {name}", flush=True)
            return
        while not done.wait(0.2):
            print(f"\r... {name} {time.monotonic() - start:.0f} s", end="", flush=True)
        print("\r\033[K", end="", flush=True)

    def table(self) -> None:
        """Print what was proved."""
        self.say("\nproved:")
        width = max(len(name) for name, _, _ in self.proved)
        for name, seconds, result in self.proved:
            self.say(f"  {name:{width}}  {seconds:6.1f} s  {result}")
        self.say(f"  {'in all':{width}}  {sum(row[1] for row in self.proved):6.1f} s")


def execute(report: Report, command: Sequence[str], **options: Any) -> list[str]:
    """Run a command, its output in the log; return its lines. Raises StepError when it fails."""
    report.note("  $ " + " ".join(command))
    options = {"stdin": subprocess.DEVNULL, "encoding": "utf-8", "errors": "replace", **options}
    lines: list[str] = []
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, stdout=pipe, stderr=both, **options) as process:
        watchdog = threading.Timer(COMMAND_SECONDS, process.kill)
        watchdog.start()
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                report.output(lines[-1])
        finally:
            watchdog.cancel()
    if process.returncode:
        what = " ".join(Path(word).name for word in command[:2])
        last = next((line for line in reversed(lines) if line.strip()), "no output")
        raise StepError(f"{what} ended with exit code {process.returncode}: {last.strip()[:300]}")
    return lines


def succeeds(command: Sequence[str], seconds: float = 30) -> bool:
    """Return whether a command ends with exit code 0 in time; its output is dropped."""
    silent = subprocess.DEVNULL
    try:
        code = subprocess.call(command, stdin=silent, stdout=silent, stderr=silent, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return code == 0


def wait_until(ready: Callable[[], Any], exit_code: Callable[[], int | None]) -> Any:
    """Return what `ready` gives once it is not None. Raises StepError if the server ends first."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        value = ready()
        if value is not None:
            return value
        if exit_code() is not None:
            raise StepError(f"the server ended with exit code {exit_code()}")
        time.sleep(0.1)
    raise StepError(f"no answer to /ping within {START_SECONDS} s")


def expect_exit(backend: Docker | Local) -> None:
    """Wait for the server to end after SIGTERM, with exit code 0."""
    end = time.monotonic() + STOP_SECONDS
    while backend.exit_code() is None:
        if time.monotonic() > end:
            raise StepError(f"the server did not stop within {STOP_SECONDS} s of SIGTERM")
        time.sleep(0.05)
    if backend.exit_code():
        raise StepError(f"the server ended with exit code {backend.exit_code()} after SIGTERM")


def load_option() -> list[str]:
    """Return --load where Docker builds with buildx, some of whose drivers keep the image to
    themselves otherwise. The legacy builder refuses it, and podman may not know it."""
    if os.environ.get("DOCKER_BUILDKIT") == "0":
        return []
    command = ["docker", "buildx", "version"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return ["--load"] if b"docker/buildx" in answer.stdout else []


class Docker:
    """The image, in containers. The data is in volumes: they work with remote daemons, SELinux
    and podman alike, and leave no files of root behind."""

    name = "docker"
    sample = "/opt/ml/sample"  # as load.py sees it
    inner_port = 8080

    def __init__(self, report: Report, image: str, build: bool) -> None:
        self.report, self.image, self.build = report, image, build
        self.run_name = f"smoke-{uuid.uuid4().hex[:8]}"
        self.data, self.model = f"{self.run_name}-data", f"{self.run_name}-model"
        self.servers: list[str] = []

    def prepare(self) -> str:
        """Build the image, and make the volumes."""
        if not succeeds(["docker", "info"], 10):
            raise MissingToolError("the Docker daemon does not answer (docker info)")
        if self.build:
            execute(self.report, ["docker", "build", *load_option(), "-t", self.image, str(ROOT)])
        elif not succeeds(["docker", "image", "inspect", self.image]):
            raise StepError(f"there is no image {self.image}")
        for volume in (self.data, self.model):
            execute(self.report, ["docker", "volume", "create", volume])
        return f"image {self.image}"

    def command(self, *arguments: str, options: Sequence[str] = OFFLINE) -> list[str]:
        """Return `docker run` with both volumes."""
        volumes = ["-v", f"{self.data}:/opt/ml", "-v", f"{self.model}:/opt/ml/model"]
        return ["docker", "run", "--rm", "-i", *volumes, *options, self.image, *arguments]

    def script(self, name: str) -> list[str]:
        """Run a script of sample/ on the data; return its lines."""
        with (ROOT / "sample" / name).open("rb") as stdin:
            return execute(self.report, self.command("python", "-", "/opt/ml"), stdin=stdin)

    def train(self) -> list[str]:
        """Run the training job without network; return its log."""
        return execute(self.report, self.command("train"))

    def fetch(self) -> Path:
        """Copy data and model to build/smoke/ml; return that folder."""
        packed = subprocess.run(
            self.command("python", "-c", PACK), stdout=subprocess.PIPE, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
            safe: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(WORK, **safe)
        return WORK / "ml"

    def serve(self, *options: str) -> int:
        """Start a container that serves, the model read-only; return its port on this machine."""
        self.servers.append(f"{self.run_name}-{len(self.servers)}")
        run = ["docker", "run", "-d", "--name", self.servers[-1]]
        volume = ["-v", f"{self.model}:/opt/ml/model:ro"]
        publish = ["-p", "127.0.0.1::8080"]
        execute(self.report, [*run, *volume, *(options or publish), self.image, "serve"])
        if options:
            return 0
        lines = execute(self.report, ["docker", "port", self.servers[-1], "8080"])
        return int(lines[0].rsplit(":", 1)[1])

    def exit_code(self) -> int | None:
        """Return the exit code of the newest server, None while it runs."""
        command = ["docker", "inspect", self.servers[-1]]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        state = json.loads(answer.stdout)[0]["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def terminate(self) -> None:
        """Send SIGTERM to the newest server."""
        execute(self.report, ["docker", "kill", "--signal", "TERM", self.servers[-1]])

    def load(self, *arguments: str) -> subprocess.Popen[str]:
        """Start sample/load.py in the server's own network: no proxy of the engine's between."""
        network = ("--network", f"container:{self.servers[-1]}")
        command = self.command("python", "-", *arguments, options=network)
        with (ROOT / "sample" / "load.py").open("rb") as stdin:
            return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True)

    def serve_strictly(self) -> str:
        """Serve as another user, without network, nothing writable, and stop in good order."""
        self.serve(*STRICT)
        ping = ["docker", "exec", self.servers[-1], "python", "-c", PING]
        wait_until(lambda: succeeds(ping) or None, self.exit_code)
        self.terminate()
        expect_exit(self)
        return "as user 1000, without network, on a read-only file system"

    def clean(self) -> None:
        """Log what the servers said; remove containers and volumes."""
        for name in self.servers:
            command = ["docker", "logs", "--tail", "200", name]
            logs = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for line in logs.stdout.decode(errors="replace").splitlines():
                self.report.output(line)
            succeeds(["docker", "rm", "-f", name])
        succeeds(["docker", "volume", "rm", self.data, self.model])


class Local:
    """The same programs in a virtual environment, with build/smoke/ml in place of /opt/ml."""

    name = "local"

    def __init__(self, report: Report, build: bool) -> None:
        self.report, self.build = report, build
        self.folder, self.venv = WORK / "ml", ROOT / ".venv"
        self.sample = str(self.folder / "sample")
        self.inner_port = 0
        self.server: subprocess.Popen[bytes] | None = None
        self.environment = {
            **os.environ,
            "PATH": f"{self.venv / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(ROOT / "program"),
            "PYTHONUNBUFFERED": "1",
            "SAGEMAKER_BASE_DIR": str(self.folder),
        }

    def prepare(self) -> str:
        """Make the virtual environment, unless one with the same packages is there."""
        if os.name != "posix":
            raise MissingToolError("the programs run on Linux and macOS only: use Docker")
        stamp = self.venv / "smoke-test.stamp"
        if self.build:
            python = self.find_python()
            files = self.requirements(python)
            digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
            if not stamp.is_file() or stamp.read_text() != digest:
                execute(self.report, [python, "-m", "venv", str(self.venv)])
                # Not compiled: Python compiles what is imported, a tenth of the files.
                pip = [str(self.venv / "bin" / "python"), "-m", "pip", "install", "--no-compile"]
                chosen = [word for file in files for word in ("-r", str(file))]
                execute(self.report, [*pip, "-q", "--require-hashes", *chosen])
                stamp.write_text(digest)
        if not (self.venv / "bin" / "python").exists():
            raise StepError(f"there is no virtual environment {self.venv}")
        proxy = (
            "nginx and gunicorn" if shutil.which("nginx") else "gunicorn alone: no nginx on PATH"
        )
        return f"virtual environment .venv, {proxy}"

    def find_python(self) -> str:
        """Return a Python that the packages are locked for."""
        for name in (sys.executable, *PYTHONS):
            path = shutil.which(name)
            if path and succeeds([path, "-c", FITS]):
                return path
        raise MissingToolError("no Python from 3.11 to 3.14 is on PATH")

    def requirements(self, python: str) -> list[Path]:
        """Return the files of packages to install for the project's input format."""
        command = [python, "-c", "import settings; print(settings.load().input_format)"]
        format = execute(self.report, command, env=self.environment)[-1]
        files = [ROOT / "requirements.txt", ROOT / f"requirements-{format}.txt"]
        return [file for file in files if file.is_file()]

    def script(self, name: str) -> list[str]:
        """Run a script of sample/ on the data; return its lines."""
        command = ["python", str(ROOT / "sample" / name), str(self.folder)]
        return execute(self.report, command, env=self.environment)

    def train(self) -> list[str]:
        """Run the training job; return its log."""
        return execute(self.report, [str(ROOT / "program" / "train")], env=self.environment)

    def fetch(self) -> Path:
        """Return the folder with data and model."""
        return self.folder

    def serve(self) -> int:
        """Start the server on a free port, and return that."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.inner_port = int(probe.getsockname()[1])
        environment = {**self.environment, "SAGEMAKER_BIND_TO_PORT": str(self.inner_port)}
        command = str(ROOT / "program" / "serve")
        with (WORK / "serve.log").open("wb") as log:
            self.server = subprocess.Popen([command], env=environment, stdout=log, stderr=log)
        return self.inner_port

    def exit_code(self) -> int | None:
        """Return the exit code of the server, None while it runs."""
        return self.server.poll() if self.server else None

    def terminate(self) -> None:
        """Send SIGTERM to the server."""
        if self.server:
            self.server.send_signal(signal.SIGTERM)

    def load(self, *arguments: str) -> subprocess.Popen[str]:
        """Start sample/load.py."""
        command = [sys.executable, str(ROOT / "sample" / "load.py"), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def clean(self) -> None:
        """Stop a server that still runs, and log what it said."""
        if self.server is None:
            return
        if self.server.poll() is None:
            self.server.terminate()
            try:
                self.server.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.server.kill()
        for line in (WORK / "serve.log").read_text(errors="replace").splitlines()[-200:]:
            self.report.output(line)
