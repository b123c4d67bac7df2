# SPDX-License-Identifier: LGPL-2.1-or-later
"""tests/lvm/run brings back what happened in the guest, and a guest that does
not say so has failed."""

import os
import re
import signal
import subprocess
import tempfile
import time

import pytest

from snaplib import tools

RUN = tools.TOP / "tests" / "lvm" / "run"

PASSES = "def test_it(): pass\n"
FAILS = "def test_it(): assert 1 + 1 == 3, 'sums'\n"
SKIPS = "import pytest\ndef test_it(): pytest.skip('no such thing')\n"
HANGS = "import time\ndef test_it():\n    print('asleep'); time.sleep(1000)\n"
PANICS = "def test_it(): open('/proc/sysrq-trigger', 'w').write('c')\n"
HALTS = "import os\ndef test_it(): os.system('halt -d -f -p')\n"


@pytest.fixture
def scratch():
    """Where the runner works: its path must not be long."""
    with tempfile.TemporaryDirectory(prefix="bed-", dir="/var/tmp") as folder:
        yield folder


@pytest.fixture
def bed(tmp_path, scratch):
    def start(kind, text, *options, **environment):
        tools.require("linux.uml" if kind == "uml" else "qemu-system-x86_64")
        if kind == "qemu":
            tools.require_root()
        (tmp_path / "test_sample.py").write_text(text)
        clean = {name: value for name, value in os.environ.items() if name != "CI"}
        return subprocess.Popen(
            [str(RUN), f"--{kind}", *options, str(tmp_path / "test_sample.py")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(clean, TMPDIR=scratch, **environment))

    return start


def finish(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def guests(folder):
    """Processes that were started with a scratch folder below this one."""
    listing = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True)
    return [line for line in listing.stdout.splitlines()
            if folder in line and re.search("linux.uml|qemu-system|virtiofsd", line)]


@pytest.mark.parametrize("kind, text, environment, code, words", [
    ("uml", PASSES, {}, 0, ["test_sample.py::test_it PASSED", "1 passed"]),
    ("qemu", FAILS, {}, 1, ["1 failed", "AssertionError: sums", "guest's console"]),
    ("qemu", SKIPS, {}, 77, ["SKIPPED", "no such thing"]),
    ("qemu", SKIPS, {"CI": "true"}, 1, ["lets none step aside"]),
    ("uml", PANICS, {}, 1, ["ended without a result", "panic"]),
    ("qemu", PANICS, {}, 1, ["ended without a result", "panic"]),
    ("uml", HALTS, {}, 1, ["ended without a result"]),
], ids=["passes", "fails", "skips", "skips-under-CI", "panics", "panics-in-QEMU", "halts"])
def test_the_result_is_the_guests(bed, scratch, kind, text, environment, code, words):
    status, output = finish(bed(kind, text, **environment))
    assert status == code, output
    for word in words:
        assert word in output, output
    assert guests(scratch) == []
    assert os.listdir(scratch) == []


def test_a_guest_that_hangs_is_killed_and_has_failed(bed, scratch):
    status, output = finish(bed("qemu", HANGS, "--timeout=90", NBDSNAP_TEST_TIMEOUT="1000"))
    assert status == 1 and "hung for 90 s and was killed" in output, output
    assert "asleep" in output
    assert guests(scratch) == []


def test_a_runner_that_is_told_to_end_takes_its_guest_along(bed, scratch):
    process = bed("qemu", HANGS, "--timeout=180")
    while "asleep" not in process.stdout.readline():
        assert process.poll() is None
    assert guests(scratch)
    process.send_signal(signal.SIGTERM)
    finish(process)
    end = time.monotonic() + 30
    while guests(scratch):
        assert time.monotonic() < end, guests(scratch)
        time.sleep(0.1)
