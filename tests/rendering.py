"""What the tests share: the template as its repository holds it, and ways to render it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "{{cookiecutter.project_slug}}"
QUESTIONS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
DEFAULT_SLUG = "my-xgboost-model"
RUNTIME = "program/runtime/"
WINDOWS = os.name == "nt"
LONGEST = 1800  # seconds for one of a project's own commands: a hang must not eat the night


def choices(key: str) -> list[str]:
    """Return the choices of a question; options are read here, never typed again."""
    return list(QUESTIONS[key])


def tracked_files() -> list[str]:
    """Return the paths that the repository holds or would hold: nothing that it ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    names = sorted(name for name in listed.decode().split("\0") if name)
    return [name for name in names if (ROOT / name).is_file()]


def export(target: Path) -> Path:
    """Copy the template, as a fresh clone would hold it, into `target`."""
    for name in tracked_files():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    return target


def user_config(folder: Path) -> Path:
    """Write a cookiecutter configuration that keeps everything inside `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = {"cookiecutters_dir": folder / "clones", "replay_dir": folder / "replay"}
    path = folder / "config.yaml"
    path.write_text("".join(f"{key}: {json.dumps(str(value))}\n" for key, value in lines.items()))
    return path


def render(template: Path, output: Path, *, hooks: bool = True, **answers: str) -> Path:
    """Render in this process, by default without validation; return the project's folder."""
    output.mkdir(parents=True, exist_ok=True)
    config = user_config(output.parent / f"{output.name}-config")
    return Path(
        cookiecutter(
            str(template),
            no_input=True,
            extra_context={"validate": "none", **answers},
            output_dir=str(output),
            config_file=str(config),
            accept_hooks=hooks,
        )
    )


def run_cookiecutter(
    template: Path,
    output: Path,
    *arguments: str,
    python: str | Path = sys.executable,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the real command as a user would; hooks and questions included."""
    output.mkdir(parents=True, exist_ok=True)
    config = user_config(output.parent / f"{output.name}-config")
    command = [str(python), "-m", "cookiecutter", "--config-file", str(config), "--no-input"]
    return subprocess.run(
        [*command, "-o", str(output), str(template), *arguments],
        env={**os.environ, "PYTHONUTF8": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def environ_of(python: Path) -> dict[str, str]:
    """Return the variables of a project's process: this Python first on PATH, and of pytest's
    plugins none, as in a project's own environment. Those of the runtime's tests cost seconds.
    """
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@contextmanager
def serving(project: Path, python: Path, **variables: str) -> Iterator[int]:
    """Serve the model of the folder that SAGEMAKER_BASE_DIR names, once /ping answers; yield the
    port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    environ = {**environ_of(python), "PYTHONPATH": str(project / "program"), **variables}
    environ["SAGEMAKER_BIND_TO_PORT"] = str(port)
    with (project / "serve.log").open("wb") as log:
        command = [python, project / "program/serve"]
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        for _ in range(600):
            assert server.poll() is None, (project / "serve.log").read_text()
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2).close()
                break
            time.sleep(0.1)
        else:
            raise AssertionError("no 200 from /ping:\n" + (project / "serve.log").read_text())
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(40)


def run_module(python: Path, folder: Path, *arguments: str, **variables: str) -> str:
    """Run `python -m ...` in a project; return the last line, or fail with the last ones."""
    done = subprocess.run(
        [python, "-m", *arguments],
        cwd=folder,
        env={**environ_of(python), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LONGEST,
    )
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-60:])
    return (done.stdout.splitlines() or [""])[-1]


def files_of(project: Path) -> dict[str, str]:
    """Return the mode of every file of a rendered project, by its path."""
    return {
        path.relative_to(project).as_posix(): oct(stat.S_IMODE(path.stat().st_mode) | 0o644)[-3:]
        for path in sorted(project.rglob("*"))
        if path.is_file()
    }


def write_manifest() -> None:
    """Print the mode and the path of every file of a project, which is tests/manifest.txt, and
    renew the list of them in post_gen_project.py, which can read no other file."""
    with tempfile.TemporaryDirectory() as folder:
        project = render(export(Path(folder, "template")), Path(folder, "out"), hooks=False)
        modes = files_of(project)
    for name, mode in modes.items():
        print(mode, name)
    names = [name for name in modes if not name.startswith(RUNTIME)]
    lines = "".join(f'    "{name}",\n' for name in sorted([*names, f"{RUNTIME}__init__.py"]))
    hook = ROOT / "hooks" / "post_gen_project.py"
    text = hook.read_text(encoding="utf-8")
    text = re.sub(r"^FILES = \(\n.*?^\)", f"FILES = (\n{lines})", text, flags=re.M | re.S)
    hook.write_text(text, encoding="utf-8", newline="\n")


def load_hook(name: str) -> ModuleType:
    """Import a hook as it stands, unrendered."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    write_manifest()
