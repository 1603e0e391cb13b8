"""Check the rendered project, restore the modes that a zip download drops, and prove it.

The proof itself is the project's own smoke_test.py, run as a child: it stays with the project, so
that anyone can repeat it. Standard library only, Python 3.9 and up; the answers arrive as in
pre_gen_project.py. Only the template's own files are touched and judged: rendering over a project
(--overwrite-if-exists) leaves the user's alone, whatever they hold.
"""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

ANSWERS = r"""{{ cookiecutter | tojson }}"""

# {% raw %}
# As tests/manifest.txt, but for program/runtime, where every file is the template's: make manifest
FILES = (
    ".dockerignore",
    ".gitattributes",
    ".github/dependabot.yml",
    ".github/workflows/ci.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "benchmark.py",
    "deploy/README.md",
    "deploy/__init__.py",
    "deploy/__main__.py",
    "deploy/aws.py",
    "deploy/configuration.py",
    "deploy/dashboard.json",
    "deploy/hosting.py",
    "deploy/images.py",
    "deploy/inventory.py",
    "deploy/jobs.py",
    "deploy/lambda/handler.py",
    "deploy/lambda/template.yaml",
    "deploy/pipeline/__init__.py",
    "deploy/pipeline/definition.py",
    "deploy/pipeline/endpoint.yaml",
    "deploy/pipeline/evaluate.py",
    "deploy/pipeline/preprocess.py",
    "deploy/requests.py",
    "deploy/roles.yaml",
    "metric_definitions.json",
    "program/custom.py",
    "program/features.py",
    "program/gunicorn.conf.py",
    "program/nginx.conf",
    "program/predictor.py",
    "program/runtime/__init__.py",
    "program/serve",
    "program/settings.py",
    "program/train",
    "program/wsgi.py",
    "pyproject.toml",
    "requirements-deploy.txt",
    "requirements-dev.txt",
    "requirements-gpu.txt",
    "requirements-mlflow.txt",
    "requirements-parquet.txt",
    "requirements-s3.txt",
    "requirements.in",
    "requirements.txt",
    "sample/backends.py",
    "sample/expected.py",
    "sample/load.py",
    "sample/make_sample.py",
    "sample/own.py",
    "sample/picture.py",
    "sample/picture.svg.jinja",
    "smoke_test.py",
    "tests/test_custom.py",
    "tests/test_features.py",
    "tests/test_model.py",
)
RUNTIME = "program/runtime"
EXECUTABLE = ("program/serve", "program/train")
CACHES = ("__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache")
TAG = re.compile(r"\{\{-?\s*cookiecutter\b|\{%-?\s*(if|for|endif|endfor|include|raw|endraw)\b")
OLDEST_PYTHON = (3, 11)  # of the programs; the hook and smoke_test.py may run in an older one
ANSWER_SECONDS = 10  # for `docker info`: a daemon that is down says so at once, a wedged one never
PASSED, FAILED, TOOL_MISSING = 0, 1, 3  # exit codes of smoke_test.py
LOG = "smoke-test.log"


def project_files(root):
    """Return the template's files in the project, sorted: no caches, and nothing of the user's."""
    found = {root / name for name in FILES}
    for path in (root / RUNTIME).rglob("*"):
        if not set(CACHES).intersection(path.relative_to(root).parts):
            found.add(path)
    return sorted(path for path in found if path.is_file())


def remove_caches(root):
    """Delete what tools left behind in a checkout of the template, and cookiecutter copied."""
    for folder in {root, *(path.parent for path in project_files(root))}:
        for name in CACHES:
            shutil.rmtree(folder / name, ignore_errors=True)


def read_text(path):
    """Return the text of a file with its line endings as they are, or None when it is binary."""
    data = path.read_bytes()
    try:
        return None if b"\0" in data else data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def restore_modes(files):
    """Make scripts executable; return those that were not.

    A zip download drops the bit, which ends in `exec: "train": executable file not found`, the
    failure of such images that is reported most. Line endings are cookiecutter's: `_new_lines`.
    """
    restored = []
    for path in files:
        mode = path.stat().st_mode
        is_script = (read_text(path) or "").startswith("#!")
        if is_script and os.name != "nt" and mode & 0o111 != 0o111:
            path.chmod(stat.S_IMODE(mode) | 0o111)
            restored.append(path)
    return restored


def file_fault(path):
    """Return what is wrong with one file, or None."""
    text = read_text(path)
    if text is None:
        return None
    if TAG.search(text):
        return "holds a template tag that was not rendered"
    is_python = path.suffix == ".py" or text.startswith("#!/usr/bin/env python")
    if is_python and sys.version_info >= OLDEST_PYTHON:
        try:
            compile(text, str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as problem:
            return f"does not compile: {problem}"
    return None


def structure_faults(root, files):
    """Return every fault of the rendered tree, one per line."""
    found = [f"{name} is missing" for name in sorted(FILES) if not (root / name).is_file()]
    for name in EXECUTABLE:
        if os.name != "nt" and (root / name).is_file() and not os.access(root / name, os.X_OK):
            found.append(f"{name} is not executable")
    for path in files:
        if ".github" not in path.parts:  # copied as it is: ${{ }} is the workflow's own
            fault = file_fault(path)
            if fault:
                found.append(f"{path.relative_to(root).as_posix()} {fault}")
    return found


def is_temporary(root, answers):
    """Return whether cruft renders only to compare: for `cruft update` and `cruft diff`.

    It renders in a new folder of Python's tempfile, tmpXXXXXXXX/PROJECT, without the `_output_dir`
    that the command `cookiecutter` adds to the answers. Whatever a proof left there would show up
    as a change of the template.
    """
    place = root.resolve().parent
    made_by_tempfile = re.fullmatch(r"tmp\w{8}", place.name) is not None
    return (
        made_by_tempfile
        and place.parent == Path(tempfile.gettempdir()).resolve()
        and "_output_dir" not in answers
    )


def docker_fault():
    """Say in a few words why Docker cannot be used, or return None.

    `docker --version` would pass with the daemon down; `docker info` asks the daemon.
    """
    if shutil.which("docker") is None:
        return "docker is not on PATH"
    try:
        command = ["docker", "info", "--format", "{{.ServerVersion}}"]
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the Docker daemon did not answer within {ANSWER_SECONDS} s"
    except OSError as problem:
        return f"docker cannot be started ({problem})"
    if answer.returncode == 0 and answer.stdout.strip():
        return None
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    return f"the Docker daemon does not answer ({lines[-1] if lines else 'docker info failed'})"


def smoke_test(backend):
    """Run the project's smoke test on this terminal; return its exit code."""
    sys.stdout.flush()  # or the child's lines come before ours
    command = [sys.executable, "smoke_test.py", "--backend", backend]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def reason(code, root):
    """Say why the smoke test did not pass: the last error that it logged, or its exit code."""
    log = root / LOG
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    errors = re.findall(r"^error: (.+)", text, re.MULTILINE)
    if errors:
        return errors[-1].strip()
    return "a tool is missing" if code == TOOL_MISSING else f"the smoke test exited with {code}"


def keep_log(root):
    """Copy the log beside the project, which cookiecutter deletes when a hook fails."""
    log = root / LOG
    if not log.is_file():
        return None
    kept = root.parent / f"{root.name}-{LOG}"
    shutil.copyfile(log, kept)
    return kept


def not_validated(why):
    """Print the one line that says so."""
    print(f"NOT VALIDATED: {why}; run python3 smoke_test.py", flush=True)


def prove(backend, root):
    """Run the smoke test with `docker` or `local`; return why it did not pass, or None."""
    (root / LOG).unlink(missing_ok=True)  # of an earlier run
    try:
        code = smoke_test(backend)
    except KeyboardInterrupt:
        return "interrupted"
    return None if code == PASSED else reason(code, root)


def validate_automatically(root):
    """Prove the project as far as this machine can. Whatever happens, the project is kept."""
    missing = docker_fault()
    if missing:
        print(f"note: {missing}; validating in a virtual environment instead")
    why = prove("local" if missing else "docker", root)
    if why and missing:
        not_validated(f"{missing}, and without it: {why}")
    elif why:
        not_validated(why)
    elif missing:
        not_validated(f"the image, because {missing} (the programs were, in a virtual environment)")
    return PASSED


def validate_strictly(backend, root):
    """Prove the project with the named backend, or fail with what is needed to find out why."""
    why = docker_fault() if backend == "docker" else None
    if why:
        (root / LOG).write_text(f"error: {why}\n", encoding="utf-8")
    why = why or prove(backend, root)
    if why is None:
        return PASSED
    print(f"error: validate={backend}: {why}", file=sys.stderr)
    kept = keep_log(root)
    if kept:
        print(f"note: the log is kept: {kept}", file=sys.stderr)
    print(
        "note: cookiecutter deletes a new project when its validation fails; keep it with "
        "validate=auto or --keep-project-on-failure",
        file=sys.stderr,
    )
    return FAILED


def validate(how, root):
    """Climb the ladder as far as the answer says; return the exit code."""
    if how == "none":
        not_validated("validate=none")
        return PASSED
    if how == "auto":
        return validate_automatically(root)
    return validate_strictly(how, root)


def answers_line(answers):
    """Return the answers in one line, quoted so that they can be given to cookiecutter again."""
    used = [f"{key}={value}" for key, value in answers.items() if not key.startswith("_")]
    return "answers: " + " ".join(shlex.quote(answer) for answer in used)


def next_steps(root):
    """Return what to type next."""
    return f"""
next:
  cd {shlex.quote(str(root))}
  git init -q && git add -A && git commit -q -m "Start from the template"
  make help                  what there is to run
  python3 smoke_test.py      build, train, serve and check again at any time
"""


def main():
    """Check, repair and prove the project in the working folder; return the exit code."""
    answers, root = json.loads(ANSWERS), Path.cwd()
    remove_caches(root)
    files = project_files(root)
    restored = restore_modes(files)
    found = structure_faults(root, files)
    for fault in found:
        print(f"error: {fault}", file=sys.stderr)
    if found:
        print("error: the template is broken: please report the lines above", file=sys.stderr)
        return FAILED
    if is_temporary(root, answers):
        return PASSED
    if restored:
        print(f"note: made {len(restored)} scripts executable again")
    print(f"ok: {len(files)} files are in order")
    print(answers_line(answers))
    code = validate(answers["validate"], root)
    if code == PASSED:
        print(next_steps(root))
    return code


if __name__ == "__main__":
    sys.exit(main())
# {% endraw %}
