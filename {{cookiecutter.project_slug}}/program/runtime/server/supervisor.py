"""The life of the serving container: start gunicorn and nginx, answer /ping, stop in good order.

One process, one loop. It exits when it is told to (exit code 0, no connection is lost) or when a
child exits (that child's exit code, and a line that says which). Port, sockets and sizes reach
nginx through a copy of nginx.conf with its names filled in, in a folder in memory, because the
container's own file system may be read-only.
"""

from __future__ import annotations

import json
import logging
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import settings
from runtime.job import logs, resources
from runtime.job.paths import Paths
from runtime.server import connections, health, listening

PROGRAM = Path(__file__).resolve().parents[2]
SHARED_MEMORY = Path("/dev/shm")
DRAIN = 24.0  # seconds to finish what is in flight: SageMaker kills 30 s after SIGTERM
MIB = 1 << 20
SPOOL_SHARE, SPOOL_MOST = 32, 1024 * MIB  # an answer may fill 1/32 of the disk's free bytes

log = logging.getLogger(__name__)


def memory_folder() -> str | None:
    """Return a folder in memory that this user may write to; None means the default one."""
    return str(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else None


def temporary_folder(run: Path, stack: ExitStack) -> Path:
    """Return a folder for large answers that clients read slowly: on the disk where there is one.

    The default folder of temporary files is on the disk, unless the container has it in memory or
    not at all: then the answers stay in the run folder.
    """
    try:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="serve-spool-"))
    except OSError:  # a read-only container
        return run
    Path(name).chmod(0o711)  # nginx's workers run as another user
    return Path(name)


def spool_limit(folder: Path) -> int:
    """Return the MiB of one answer that nginx may keep in a file; 0: none."""
    return min(shutil.disk_usage(folder).free // SPOOL_SHARE, SPOOL_MOST) // MIB


def render_nginx(run: Path, spool: Path, config: settings.Settings) -> Path:
    """Write nginx.conf with its ${NAMES} filled in to the run folder; return its path."""
    values = {
        "PORT": config.port,
        "SMALL": "rows" if shares(config) else "application",
        "CONNECTIONS": connections.MOST,
        "RUN": run,
        "SPOOL": spool,
        "SPOOL_LIMIT": spool_limit(spool),
        "PROCESSES": min(resources.cpu_count(), 4),
        "MAX_CONTENT_LENGTH": config.max_content_length,
        "TIMEOUT": config.request_timeout + 5,  # gunicorn's own limit comes first, and says why
    }
    text = (PROGRAM / "nginx.conf").read_text(encoding="utf-8")
    target = run / "nginx.conf"
    rendered = re.sub(r"\$\{([A-Z_]+)\}", lambda match: str(values[match[1]]), text)
    target.write_text(rendered, encoding="utf-8")
    return target


def shares(config: settings.Settings) -> bool:
    """Return whether workers share nginx's connections: those with one thread, on Linux."""
    return connections.supported() and not config.multi_model


class Supervisor:
    """Holds the children by name, the listening sockets, and the pipe that signals arrive by."""

    def __init__(self, run: Path, spool: Path, config: settings.Settings) -> None:
        self.run, self.spool, self.config = run, spool, config
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.beats = run / "beats"
        for folder in (self.beats, run / "metrics", run / "models"):
            folder.mkdir()
        run.chmod(0o711)  # nginx's workers run as another user and need the sockets
        self.selector = selectors.DefaultSelector()
        self.listener: socket.socket | None = None

    def start(self) -> None:
        """Start gunicorn first, as it takes longest, then nginx. Raises OSError without a port."""
        self._watch_signals()
        self.listener = listening.listen(self.config.port)
        nginx, port = shutil.which("nginx"), self.listener.fileno()
        shared = bool(nginx) and shares(self.config)
        if shared:
            self.exchange = connections.Exchange(self.run)
            self.selector.register(self.exchange, selectors.EVENT_READ)
        environ = {
            **resources.MALLOC,
            **os.environ,
            **dict.fromkeys(resources.THREADS, "1"),  # a worker is one of as many as there are CPUs
            "SAGEMAKER_BASE_DIR": str(Paths.from_environment().base),  # gunicorn runs elsewhere
            "SERVE_RUN": str(self.run),
            "SERVE_BIND": f"unix:{self.run}/gunicorn.sock" if nginx else f"fd://{port}",
            "SERVE_SHARED": str(int(shared)),
            "PROMETHEUS_MULTIPROC_DIR": str(self.run / "metrics"),
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:application"]
        inherited = () if nginx else (port,)
        self._spawn("gunicorn", command, cwd=PROGRAM, env=environ, pass_fds=inherited)
        if nginx is None:
            log.info("nginx is not on PATH: gunicorn listens on port %d itself", self.config.port)
            return
        self._listen()
        file = render_nginx(self.run, self.spool, self.config)
        command = [nginx, "-e", "stderr", "-p", f"{self.run}/", "-c", str(file)]
        environ = {**os.environ, "NGINX": f"{port};"}  # sockets to inherit, as in its own upgrades
        self._spawn("nginx", command, env=environ, pass_fds=(port,))

    def _spawn(self, name: str, command: list[str], **options: object) -> None:
        # An own process group keeps Ctrl-C in a terminal from reaching the children before us.
        self.children[name] = subprocess.Popen(command, process_group=0, **options)  # type: ignore[call-overload]

    def _watch_signals(self) -> None:
        """Let SIGTERM, SIGINT and SIGCHLD wake the loop by a byte in a socket pair."""
        self.signals, sender = socket.socketpair()
        self.signals.setblocking(False)
        sender.setblocking(False)
        self._sender = sender
        signal.set_wakeup_fd(sender.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})  # see `serve`
        self.selector.register(self.signals, selectors.EVENT_READ)

    def _listen(self) -> None:
        """Open the socket that nginx asks for /ping."""
        self.pings = socket.socket(socket.AF_UNIX)
        self.pings.bind(f"{self.run}/ping.sock")
        os.chmod(f"{self.run}/ping.sock", 0o666)
        self.pings.listen(64)
        self.selector.register(self.pings, selectors.EVENT_READ)

    def loop(self) -> int:
        """Answer /ping until SIGTERM or until a child exits; return the container's exit code."""
        while True:
            if {signal.SIGTERM, signal.SIGINT} & self._turn():
                log.info("told to stop: finishing the requests in flight")
                return self.stop()
            for name, child in self.children.items():
                code = child.poll()
                if code is not None:
                    return self._fail(name, code)

    def _turn(self, seconds: float | None = None) -> set[int]:
        """Wait for signals and for /ping, which is answered; return the signals."""
        signals: set[int] = set()
        for key, _ in self.selector.select(seconds):
            if key.fileobj is self.signals:
                signals |= set(self.signals.recv(64))
            elif key.fileobj is self.pings:
                self._answer_ping()
            else:
                self.exchange.turn()
        return signals

    def _answer_ping(self) -> None:
        """Answer one request of nginx: 200 and nothing else, or 503 and the reason."""
        connection, _ = self.pings.accept()
        with connection:
            connection.settimeout(1.0)
            try:
                request = connection.recv(65536)
                connection.sendall(ping_response(request, health.problem(self.beats)))
            except OSError as error:
                log.debug("a client of /ping went away: %s", error)

    def _fail(self, name: str, code: int) -> int:
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        log.error("error: %s exited unexpectedly with %s: stopping the container", name, how)
        self.stop()
        with suppress(ProcessLookupError):  # workers that outlived their master hold the port
            os.killpg(self.children[name].pid, signal.SIGKILL)
        return 128 - code if code < 0 else code or 1

    def stop(self) -> int:
        """Stop nginx, which finishes what it accepted, then gunicorn; kill what does not exit."""
        limit = time.monotonic() + DRAIN
        self._accept_the_last()
        for name, number in (("nginx", signal.SIGQUIT), ("gunicorn", signal.SIGTERM)):
            child = self.children.get(name)
            if child is None or child.poll() is not None:
                continue
            child.send_signal(number)
            end = max(time.monotonic() + 0.5, limit)
            while child.poll() is None and time.monotonic() < end:
                self._turn(min(0.5, end - time.monotonic()))  # nginx may wait for a /ping
            if child.poll() is None:
                log.error("error: %s did not finish within %.0f s: killed", name, DRAIN)
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        return 0

    def _accept_the_last(self) -> None:
        """Turn new clients away, and give nginx the time to accept those that are connected.

        A connection that waits in the queue when its last socket is closed would be reset.
        """
        if self.listener is None:
            return
        if all(child.poll() is None for child in self.children.values()):
            listening.turn_away(self.listener)
            quiet = listening.Quiet(self.listener)
            while not quiet.reached():
                self._turn(listening.STEP)
        self.listener.close()
        self.listener = None


def ping_response(request: bytes, problem: str | None) -> bytes:
    """Return the HTTP response to a request of /ping."""
    method = request.split(b" ", 1)[0]
    if method not in (b"GET", b"HEAD"):
        code, status, message = 405, "405 Method Not Allowed", "use GET"
    elif problem is None:
        return b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"
    else:
        code, status, message = 503, "503 Service Unavailable", problem
    body = json.dumps({"code": code, "message": message}).encode()
    head = f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def main() -> int:
    """Run the server; return the exit code of the container."""
    try:
        config = settings.load()
    except settings.SettingError as error:
        print(f"error: {error}", flush=True)
        return 1
    logs.configure(config.log_level)
    with ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="serve-", dir=memory_folder())
        run = Path(stack.enter_context(folder))
        supervisor = Supervisor(run, temporary_folder(run, stack), config)
        try:
            supervisor.start()
            return supervisor.loop()
        except OSError as error:
            print(f"error: {error}", flush=True)
            return 1
        finally:
            supervisor.stop()  # does nothing when all is stopped
