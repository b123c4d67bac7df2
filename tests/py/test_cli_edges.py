# SPDX-License-Identifier: LGPL-2.1-or-later
"""Output that cannot be written, names that are empty, files that may not be
read, what a killed program leaves: a right exit code and a clear word."""

import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from snaplib import tools
from snaplib.cli import command, done, nbdsnap, refused

DISK = "disk.qcow2"


@pytest.fixture(autouse=True)
def image(tmp_path, monkeypatch):
    tools.require("qemu-img", "qemu-io")
    monkeypatch.chdir(tmp_path)
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", DISK, "1M"])


def to_full_device(*arguments):
    with open("/dev/full", "w") as full:
        return subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=60)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_set_that_nobody_can_be_told_of_is_not_made(options):
    result = to_full_device("create", *options, "-n", "mon", DISK)
    assert result.returncode == 1
    assert result.stderr == "nbdsnap: standard output: No space left on device\n"
    assert done("list", "-q", DISK) == ""
    assert list(pathlib.Path("state/sets").iterdir()) == []
    done("create", "-n", "mon", DISK)


def test_an_empty_state_directory_is_not_the_one_we_are_in():
    before = sorted(os.listdir())
    refused(nbdsnap("create", DISK, state=""), 2, "--state-dir: empty")
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("arguments, words", [
    (["list", ""], "'': no volume is named"),
    (["diff", f"{DISK}@a..%00"], "no name holds the byte %00"),
    (["diff", f"{DISK}@a..%0g"], "'%' wants two hex digits"),
])
def test_what_names_nothing_is_called_that(arguments, words):
    refused(nbdsnap(*arguments), 2, words)


@pytest.fixture
def elsewhere(tmp_path):
    """A place that another user can get to."""
    tools.require_root()
    tools.require("setpriv")
    folder = pathlib.Path("/tmp") / f"nbdsnap-edges-{os.getpid()}"
    folder.mkdir(mode=0o755)
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["disk.qcow2", "closed/disk.qcow2"])
def test_what_may_not_be_read_is_not_called_unknown(elsewhere, place):
    (elsewhere / "closed").mkdir(mode=0o700)
    copy = elsewhere / place
    shutil.copy(DISK, copy)
    os.chmod(copy, 0o600)
    program = elsewhere / "nbdsnap"
    shutil.copy(tools.nbdsnap(), program)
    result = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         program, "--state-dir", elsewhere / "state", "list", place],
        capture_output=True, text=True, cwd=elsewhere, timeout=60)
    refused(result, 1, f"{place}: Permission denied")


def test_lock_files_of_killed_programs_are_swept_and_others_stay():
    done("create", "-n", "mon", DISK)
    done("create", "-n", "tue", DISK)
    holds = pathlib.Path("state/holds")
    held = subprocess.Popen(
        ["nbdkit", "-f", "-U", "socket", tools.plugin().resolve(),
         f"state-dir={pathlib.Path('state').resolve()}", f"{DISK}@mon"],
        stderr=subprocess.DEVNULL)
    try:
        tools.run(["timeout", "20", "sh", "-c", "until test -S socket; do sleep 0.02; done"])
        used = set(holds.iterdir())
        assert len(used) >= 1
        (holds / ("0" * 64)).touch()
        done("doctor")
        assert set(holds.iterdir()) == used
    finally:
        held.send_signal(signal.SIGKILL)
        held.wait()
    assert set(holds.iterdir()) == used
    done("doctor")
    assert list(holds.iterdir()) == []


def test_words_of_qemu_for_its_files_are_not_passed_on(tmp_path):
    """A stand-in: the real one says such things where an open fails."""
    shim = tmp_path / "bin" / "qemu-img"
    shim.parent.mkdir()
    shim.write_text(
        "#!/bin/sh\n"
        "echo \"qemu-img: Could not open 'json:{\\\"driver\\\": {\\\"a\\\": 1}}': "
        "Node '#block12' at /proc/self/fd/3 is odd\" >&2\nexit 1\n")
    shim.chmod(0o755)
    env = dict(os.environ, PATH=f"{shim.parent}:{os.environ['PATH']}")
    result = nbdsnap("create", "-n", "mon", DISK, env=env)
    assert result.returncode in (1, 9)
    for word in ("json:", "#block", "/proc/self"):
        assert word not in result.stderr
    assert f"Could not open '{tmp_path}/{DISK}': Node" in result.stderr
