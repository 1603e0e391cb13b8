"""Framework mode of training: programs that jobs bring, and every way in which they fail.

The expected environment is that of AWS's own code: see framework/record.py.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from framework_job import SCRIPTS, archive, script_job
from runtime.job import code, packages
from runtime.job.commands import Runner
from runtime.job.failures import UserError

EXPECTED = json.loads((SCRIPTS / "expected.json").read_text(encoding="utf-8"))
HYPERPARAMETERS = EXPECTED["hyperparameters"]


def tar_of(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    """Write an archive with exactly these entries."""
    with tarfile.open(path, "w:gz") as tar:
        for entry, content in entries:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """Return the header of an entry."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# What a script is given.


def test_arguments_and_environment_are_those_of_aws(tmp_path: Path) -> None:
    """The same hyperparameters, of every JSON type, through AWS's code and through ours."""
    job = script_job(tmp_path, "environment", **HYPERPARAMETERS)
    job.environ |= {"AWS_DEFAULT_REGION": "eu-west-1", "TRAINING_JOB_NAME": "job-7"}
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    given = json.loads((tmp_path / "model" / "given.json").read_text())
    assert given["arguments"] == EXPECTED["arguments"]
    environment = {k: v.replace(str(tmp_path), "/opt/ml") for k, v in given["environment"].items()}
    for name in EXPECTED["environment"].keys() - {"SAGEMAKER_TRAINING_MODULE", "SM_NUM_CPUS"}:
        ours, theirs = (
            re.sub(r'"num_cpus":\d+', "", values[name])
            for values in (environment, EXPECTED["environment"])
        )
        assert ours == theirs, name


def test_a_shell_script_runs_as_it_is(tmp_path: Path) -> None:
    job = script_job(tmp_path, "shell", "train.sh", name='"two words"', depth="3")
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert "preparing: --depth 3 --name two words" in outcome.log
    arguments = json.loads((tmp_path / "model" / "arguments.json").read_text())
    assert arguments[:4] == ["--depth", "3", "--name", "two words"]


def test_a_program_in_a_folder_of_the_archive_runs_by_its_path(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"src/main.py": "import helper", "src/helper.py": "print('here')"})
    job.hyperparameters["sagemaker_program"] = '"src/main.py"'
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert "here" in outcome.log


def test_code_that_is_already_in_place_runs(tmp_path: Path) -> None:
    """In the image at /opt/ml/code, or mounted there: local mode does that."""
    job = script_job(tmp_path, {"train.py": "print('in place')"})
    archive(job).unlink()
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text("print('in place')")
    job.hyperparameters["sagemaker_submit_directory"] = json.dumps(str(folder))
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert "in place" in outcome.log


def test_a_folder_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text("import os; print('in', os.getcwd())")
    job = script_job(tmp_path / "ml", {"train.py": ""})
    job.hyperparameters["sagemaker_submit_directory"] = json.dumps(f"file://{source}")
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert f"in {tmp_path / 'ml' / 'code'}" in outcome.log


def test_our_own_training_does_not_start(tmp_path: Path) -> None:
    """Neither its checks of channels and hyperparameters, nor its model."""
    job = script_job(tmp_path, {"train.py": "pass"}, eta="no number")
    outcome = job.run_program()
    assert outcome.code == 0, outcome.log
    assert list((tmp_path / "model").iterdir()) == []


# How it fails.


def test_a_failing_script_gives_its_code_and_last_lines(tmp_path: Path) -> None:
    source = (
        "import sys\nfor n in range(400): print('line', n)\nprint('no rows', file=sys.stderr)\n"
    )
    job = script_job(tmp_path, {"train.py": source + "sys.exit(3)"})
    outcome = job.run_program()
    assert outcome.code == 3
    first, *lines = job.failure.splitlines()
    assert first == "ExecuteUserScriptError: train.py exited with code 3:"
    assert lines[-2:] == ["line 399", "no rows"]
    assert len(job.failure) <= 1024


def test_a_traceback_ends_the_failure_file(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"train.py": "def f(): raise ValueError('bad ' * 60)\nf()"})
    outcome = job.run_program()
    assert outcome.code == 1
    assert job.failure.startswith("ExecuteUserScriptError: train.py exited with code 1:")
    assert job.failure.rstrip().endswith("bad")
    assert len(job.failure) <= 1024


def test_a_missing_package_comes_with_its_remedy(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"train.py": "import no_such.part"})
    assert job.run_program().code == 1
    assert "(name the package no_such in requirements.txt beside it" in job.failure


def test_an_archive_that_is_none_is_told(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"train.py": "pass"})
    archive(job).write_bytes(b"<Error>AccessDenied</Error>")
    assert job.run_program().code == 1
    assert job.failure.endswith("sourcedir.tar.gz is not a tar archive")


def test_a_killed_script_is_told_as_such(tmp_path: Path) -> None:
    source = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    job = script_job(tmp_path, {"train.py": source})
    outcome = job.run_program()
    assert outcome.code == 3
    assert job.failure.startswith("PlatformError: train.py was killed")
    assert "memory" in job.failure


def test_a_crashed_script_names_its_signal(tmp_path: Path) -> None:
    source = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    job = script_job(tmp_path, {"train.py": source})
    assert job.run_program().code == 128 + signal.SIGSEGV
    assert "train.py was killed by signal SIGSEGV" in job.failure


@pytest.mark.parametrize("program", ["train.py", "train.sh"])
def test_sigterm_reaches_the_script(tmp_path: Path, program: str) -> None:
    """A script that saves its model on SIGTERM succeeds; behind a shell too."""
    source = (
        "import os, signal, sys\n"
        "def stop(number, frame):\n"
        "    open(os.environ['SM_MODEL_DIR'] + '/model', 'w').write('saved')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    shell = "trap : TERM\npython train.py &\nwait $!\nwait $!\n"
    job = script_job(tmp_path, {"train.py": source, "train.sh": shell})
    job.hyperparameters["sagemaker_program"] = json.dumps(program)
    process = job.start()
    assert process.stdout is not None
    for line in process.stdout:
        if "ready" in line:
            break
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert (tmp_path / "model" / "model").read_text() == "saved"
    assert not job.failure


def test_a_script_that_ignores_its_end_is_not_called_a_failure(tmp_path: Path) -> None:
    source = "import signal; print('ready', flush=True); signal.pause()"
    job = script_job(tmp_path, {"train.py": source})
    process = job.start()
    assert process.stdout is not None
    while "ready" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not job.failure


def test_a_process_left_in_the_background_does_not_hold_the_job(tmp_path: Path) -> None:
    source = "import subprocess; subprocess.Popen(['sleep', '300']); print('done')"
    job = script_job(tmp_path, {"train.py": source})
    outcome = job.run_program()
    assert outcome.code == 0
    assert "done" in outcome.log


def test_a_missing_program_is_named_beside_what_there_is(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"other.py": "pass"})
    assert job.run_program().code == 1
    assert "the program 'train.py' is not in" in job.failure
    assert "which holds: other.py" in job.failure


def test_a_missing_archive_is_a_user_error(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"train.py": "pass"})
    archive(job).unlink()
    assert job.run_program().code == 1
    assert job.failure.startswith("UserError: sagemaker_submit_directory: there is no file")


def test_no_submit_directory_is_a_user_error(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"train.py": "pass"})
    del job.hyperparameters["sagemaker_submit_directory"]
    assert job.run_program().code == 1
    assert "neither sagemaker_submit_directory nor" in job.failure


def test_code_may_be_forbidden(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"train.py": "print('ran')"})
    job.environ["ALLOW_CODE"] = "never"
    outcome = job.run_program()
    assert outcome.code == 1
    assert "ALLOW_CODE=never" in job.failure
    assert "ran" not in outcome.log.split()


# The archive.


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ((entry("../evil"), b"x"), "the path ../evil leads outside the archive"),
        ((entry("a/../../evil"), b"x"), "the path a/../../evil leads outside"),
        ((entry("/tmp/evil"), b"x"), "the path /tmp/evil leads outside"),
        ((entry("link", tarfile.SYMTYPE, "/etc"), b""), "the link link -> /etc leads outside"),
        ((entry("link", tarfile.SYMTYPE, "../.."), b""), "leads outside"),
        ((entry("link", tarfile.LNKTYPE, "../../etc/passwd"), b""), "leads outside"),
        ((entry("tty", tarfile.CHRTYPE), b""), "tty is neither a file, a folder nor a link"),
        ((entry("pipe", tarfile.FIFOTYPE), b""), "pipe is neither a file"),
    ],
)
def test_an_archive_cannot_reach_outside(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], complaint: str
) -> None:
    path = tar_of(tmp_path / "bad.tar.gz", (entry("train.py"), b"pass"), bad)
    with pytest.raises(UserError, match=complaint.replace("(", r"\(")):
        code.unpack(path, tmp_path / "ml" / "code")
    outside = {"bad.tar.gz", "ml"}
    assert {found.name for found in tmp_path.iterdir()} == outside


def test_links_cannot_lead_outside_together(tmp_path: Path) -> None:
    """Each of them is harmless alone: the second is made shallow by the third."""
    entries = [
        (entry("s/kept"), b""),
        (entry("out", tarfile.SYMTYPE, "s/a/../x"), b""),
        (entry("s/a", tarfile.SYMTYPE, ".."), b""),
    ]
    (tmp_path / "x").write_text("secret")
    with pytest.raises(UserError, match="leads outside"):
        code.unpack(tar_of(tmp_path / "bad.tar.gz", *entries), tmp_path / "code")
    assert not (tmp_path / "code" / "out").is_symlink()


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    entries = [
        (entry("d", tarfile.SYMTYPE, str(tmp_path / "target")), b""),
        (entry("d/evil"), b"x"),
    ]
    (tmp_path / "target").mkdir()
    with pytest.raises(UserError):
        code.unpack(tar_of(tmp_path / "bad.tar.gz", *entries), tmp_path / "code")
    assert not list((tmp_path / "target").iterdir())


def test_links_inside_are_kept(tmp_path: Path) -> None:
    entries = [
        (entry("lib/real.py"), b"value = 1"),
        (entry("soft.py", tarfile.SYMTYPE, "lib/real.py"), b""),
        (entry("hard.py", tarfile.LNKTYPE, "lib/real.py"), b""),
    ]
    code.unpack(tar_of(tmp_path / "good.tar.gz", *entries), tmp_path / "code")
    for name in ("soft.py", "hard.py"):
        assert (tmp_path / "code" / name).read_text() == "value = 1"


def test_modes_hold_nothing_but_executable(tmp_path: Path) -> None:
    info = entry("run.sh")
    info.mode = 0o4755
    code.unpack(tar_of(tmp_path / "good.tar.gz", (info, b"true")), tmp_path / "code")
    assert (tmp_path / "code" / "run.sh").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(("name", "value"), [("MOST_ENTRIES", 2), ("MOST_BYTES", 10)])
def test_size_and_count_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(code, name, value)
    path = tar_of(tmp_path / "big.tar.gz", *((entry(f"{n}.py"), b"12345") for n in range(3)))
    with pytest.raises(UserError, match="larger than a program may be"):
        code.unpack(path, tmp_path / "code")


def test_a_damaged_archive_is_a_user_error(tmp_path: Path) -> None:
    job = script_job(tmp_path, {"train.py": "print(1)\n" * 5000})
    path = archive(job)
    path.write_bytes(path.read_bytes()[:-40])
    assert job.run_program().code == 1
    assert job.failure.startswith(f"UserError: {path} cannot be unpacked")


# Requirements.


def wheel(path: Path) -> Path:
    """Write a wheel of one module."""
    name = "own_helper-1.0"
    files = {
        "own_helper.py": "value = 42",
        f"{name}.dist-info/METADATA": "Metadata-Version: 2.1\nName: own-helper\nVersion: 1.0\n",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in files) + f"{name}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(path / f"{name}-py3-none-any.whl", "w") as archive_:
        for file, text in {**files, f"{name}.dist-info/RECORD": record}.items():
            archive_.writestr(file, text)
    return path


def test_requirements_are_installed_for_a_user_who_cannot_write_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a wheel beside the code, as under network isolation."""
    (wheel(tmp_path) / "requirements.txt").write_text("--no-index\n--find-links .\nown-helper==1.0")
    monkeypatch.setattr(packages.os, "access", lambda path, mode: False)
    monkeypatch.setattr(packages, "PREFIX", tmp_path / "prefix")
    (folder,) = packages.install(tmp_path, Runner())
    assert (Path(folder) / "own_helper.py").read_text() == "value = 42"


def test_requirements_that_do_not_resolve_fail_the_job(tmp_path: Path) -> None:
    files = {"train.py": "pass", "requirements.txt": "--no-index\nno-such-package==1"}
    job = script_job(tmp_path, files)
    assert job.run_program().code == 1
    assert job.failure.startswith("InstallModuleError: pip install -r requirements.txt exited")
    assert "No matching distribution found for no-such-package==1" in job.failure
    assert "network" not in job.failure


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"train.py": ""}, None),
        ({"requirements.txt": "x"}, ["-r", "requirements.txt"]),
        ({"setup.py": ""}, ["."]),
        ({"setup.py": "", "requirements.txt": ""}, [".", "-r", "requirements.txt"]),
        ({"pyproject.toml": "[tool.ruff]\n"}, None),
        ({"pyproject.toml": "[project]\nname='x'\n"}, ["."]),
    ],
)
def test_what_pip_is_asked_to_install(
    tmp_path: Path, files: dict[str, str], wanted: list[str] | None
) -> None:
    class Recorder(Runner):
        asked: list[str] | None = None

        def run(self, command: list[str], folder: Path, environ: object = None) -> tuple[int, list]:
            assert folder == tmp_path
            Recorder.asked = command[command.index("--no-cache-dir") + 1 :]
            return 0, []

    for name, text in files.items():
        (tmp_path / name).write_text(text)
    packages.install(tmp_path, Recorder())
    assert Recorder.asked == wanted


def test_without_network_the_reason_is_told(tmp_path: Path) -> None:
    """An index on a port of this machine where nothing listens."""
    job = script_job(tmp_path, {"train.py": "pass", "requirements.txt": "no-such-package==1"})
    job.environ |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    job.environ |= {"PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    assert job.run_program().code == 1
    assert "there is no network" in job.failure
    assert "No matching distribution found for no-such-package==1" in job.failure


def test_a_python_without_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.txt").write_text("x")
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(packages.InstallModuleError, match="has no pip"):
        packages.install(tmp_path, Runner())


# S3.


def test_without_boto3_s3_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(UserError, match="make build S3=1"):
        code.bring("s3://bucket/sourcedir.tar.gz", tmp_path)


def test_an_archive_comes_from_s3(tmp_path: Path) -> None:
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    credentials = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    endpoint = f"http://127.0.0.1:{port}"
    try:
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        client.create_bucket(Bucket="bucket")
        job = script_job(tmp_path, {"train.py": "print('from S3')"})
        client.upload_file(str(archive(job)), "bucket", "a/sourcedir.tar.gz")
        job.environ |= {**credentials, "S3_ENDPOINT_URL": endpoint}
        job.hyperparameters["sagemaker_submit_directory"] = '"s3://bucket/a/sourcedir.tar.gz"'
        outcome = job.run_program()
        assert outcome.code == 0, outcome.log
        assert "from S3" in outcome.log
        job.hyperparameters["sagemaker_submit_directory"] = '"s3://bucket/missing.tar.gz"'
        shutil.rmtree(tmp_path / "code")
        assert job.run_program().code == 1
        assert "cannot download s3://bucket/missing.tar.gz" in job.failure
    finally:
        server.stop()
