"""The failure file: its first 1,024 characters are all that the job's owner sees."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from runtime.job.failures import (
    LIMIT,
    AlgorithmError,
    ContainerError,
    PlatformError,
    UserError,
    write_failure,
)


@pytest.mark.parametrize("kind", [UserError, AlgorithmError, PlatformError])
def test_class_and_message_come_first(tmp_path: Path, kind: type[ContainerError]) -> None:
    file = tmp_path / "output" / "failure"
    write_failure(file, kind("eta=2 is not a number from 0 to 1"))
    assert file.read_text() == f"{kind.__name__}: eta=2 is not a number from 0 to 1"


def test_a_long_message_is_cut_to_what_sagemaker_keeps(tmp_path: Path) -> None:
    file = tmp_path / "failure"
    write_failure(file, UserError("row " * 1000))
    text = file.read_text()
    assert len(text) <= LIMIT == 1024
    assert text.startswith("UserError: row row")
    assert text.endswith(" ...")


def test_a_message_of_exactly_the_limit_is_whole(tmp_path: Path) -> None:
    message = "x" * (LIMIT - len("UserError: "))
    write_failure(tmp_path / "failure", UserError(message))
    assert (tmp_path / "failure").read_text() == f"UserError: {message}"


def test_characters_outside_ascii_are_kept(tmp_path: Path) -> None:
    write_failure(tmp_path / "failure", UserError("Größe"))
    assert (tmp_path / "failure").read_text(encoding="utf-8") == "UserError: Größe"


def test_a_failure_that_cannot_be_written_is_logged_and_hides_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "output").write_text("a file where the folder should be")
    with caplog.at_level(logging.ERROR):
        write_failure(tmp_path / "output" / "failure", UserError("message"))
    assert "cannot write" in caplog.text


def test_the_file_is_whole_while_two_threads_write_it(tmp_path: Path) -> None:
    file, stop = tmp_path / "failure", threading.Event()
    write_failure(file, UserError("of this host"))

    def write(message: str) -> None:
        while not stop.is_set():
            write_failure(file, UserError(message))

    threads = [threading.Thread(target=write, args=(text,)) for text in ("of this host", "of both")]
    for thread in threads:
        thread.start()
    seen = {file.read_text() for _ in range(2_000)}
    stop.set()
    for thread in threads:
        thread.join()
    assert seen <= {"UserError: of this host", "UserError: of both"}
    assert list(tmp_path.iterdir()) == [file]


def test_the_kinds_of_error_have_exit_codes_of_their_own() -> None:
    codes = [kind.exit_code for kind in (UserError, AlgorithmError, PlatformError)]
    assert 0 not in codes
    assert len(set(codes)) == len(codes)
