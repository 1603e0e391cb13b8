"""gunicorn's settings: read by gunicorn, which `serve` starts.

The application is loaded once, in the master, and the workers are forked from it: they share the
model's memory. Behind nginx, which takes in slow clients and whole bodies, a worker has one thread
and one request. Where threads help (several models) it has several, and many where no nginx stands
between a worker and its slow clients: each of them holds one.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import settings
from runtime.job import resources
from runtime.server import supervisor
from runtime.server.workers import ProxiedWorker

THREADS, THREADS_FOR_CLIENTS = 8, 32

_config = settings.load()
_bind = os.environ.get("SERVE_BIND", f"0.0.0.0:{_config.port}")
_proxied = _bind.startswith("unix:")

bind = _bind
workers = _config.workers or resources.cpu_count()
# Of a class of your own, replace ${SMALL} in nginx.conf with application.
worker_class = ProxiedWorker if _proxied and not _config.multi_model else "gthread"
threads = (THREADS if _config.multi_model else 1) if _proxied else THREADS_FOR_CLIENTS
preload_app = True
timeout = _config.request_timeout + 2
graceful_timeout = int(supervisor.DRAIN) - 1
keepalive = 60
worker_tmp_dir = supervisor.memory_folder()
control_socket_disable = True  # it would write to the home folder
loglevel = "warning" if _config.log_level == "INFO" else _config.log_level.lower()
limit_request_line = 0  # nginx, or MAX_CONTENT_LENGTH, limits what a client may send
limit_request_field_size = 0
limit_request_fields = 1000


def when_ready(server: Any) -> None:
    """Keep the garbage collector off what is loaded, so that workers go on sharing its pages."""
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Give the new worker nginx's connections, warm the model up, and begin its heartbeat."""
    if os.environ.get("SERVE_SHARED") == "1" and isinstance(worker, ProxiedWorker):
        worker.join(Path(os.environ["SERVE_RUN"]))
    worker.wsgi.extensions["scoring"].start_worker()


def worker_exit(server: Any, worker: Any) -> None:
    """Write the last counts of a worker that exits in order."""
    worker.wsgi.extensions["scoring"].flush()


def child_exit(server: Any, worker: Any) -> None:
    """Forget the gauges and the heartbeat of a worker that exited."""
    server.app.wsgi().extensions["scoring"].forget_worker(worker.pid)
