# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is begun on a storage that is away, or that may not be written."""

import json
import os
import pathlib
import subprocess
import time

import pytest

from snaplib import tools
from snaplib.cli import answer, command, nbdsnap, refused


@pytest.fixture(autouse=True)
def two_images(tmp_path, monkeypatch):
    tools.require("qemu-img")
    monkeypatch.chdir(tmp_path)
    for name in "a", "b", "c":
        os.mkdir(name)
        tools.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{name}/x.qcow2", "1M"])


def native(image):
    shown = tools.run(["qemu-img", "info", "--output=json", image])
    return json.loads(shown).get("snapshots", [])


def half_made_set():
    """One of two cuts is made; then the maker is killed."""
    fake = pathlib.Path("bin/qemu-img")
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\n"
                    "case $* in *-c*) if [ -e cut ]; then kill -9 $PPID; exit 1; fi\n"
                    ": >cut;; esac\n"
                    f"exec {tools.which('qemu-img')} \"$@\"\n")
    fake.chmod(0o755)
    env = dict(os.environ, PATH=f"{fake.parent.resolve()}:{os.environ['PATH']}")
    assert nbdsnap("create", "-n", "s", "a/x.qcow2", "b/x.qcow2", env=env).returncode == -9
    assert len(native("a/x.qcow2")) == 1 and not native("b/x.qcow2")


def unfinished():
    return answer("doctor", "--dry-run")["unfinished"]


def test_a_set_is_not_forgotten_while_its_storage_is_away():
    half_made_set()
    os.rename("a", "away")
    made = nbdsnap("create", "-n", "other", "c/x.qcow2")
    assert made.returncode == 0 and "a/x.qcow2" in made.stderr
    assert len(unfinished()) == 1
    doctor = nbdsnap("doctor")
    assert doctor.returncode == 9 and "a/x.qcow2" in doctor.stderr
    assert len(doctor.stderr.splitlines()) == 1
    os.rename("away", "a")
    assert answer("doctor")["unfinished"] == []
    assert not native("a/x.qcow2")


def test_a_storage_that_will_not_come_back_is_dropped_on_request():
    half_made_set()
    os.rename("a", "away")
    refused(nbdsnap("doctor", "--forget", "0123456789abcdef"), 1, "0123456789abcdef")
    assert answer("doctor", "--forget", unfinished()[0])["unfinished"] == []
    os.rename("away", "a")
    assert len(native("a/x.qcow2")) == 1


def test_an_image_that_may_only_be_read_is_refused_before_anything_begins():
    tools.require_root()
    os.chmod("a/x.qcow2", 0o644)
    os.chmod(".", 0o755)
    os.mkdir("mine")
    os.chown("mine", 65534, 65534)

    def drop():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    refused(nbdsnap("create", "-n", "s", "a/x.qcow2", state="mine", preexec_fn=drop), 1,
            "Permission denied")
    assert answer("doctor", "--dry-run", state="mine")["unfinished"] == []


def with_qemu_img(script):
    """An environment in which qemu-img runs @script after its work."""
    fake = pathlib.Path("bin/qemu-img")
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/bash\n{tools.which('qemu-img')} \"$@\"; status=$?\n"
                    f"{script}\nexit $status\n")
    fake.chmod(0o755)
    return dict(os.environ, PATH=f"{fake.parent.resolve()}:{os.environ['PATH']}")


def test_an_image_that_is_taken_right_after_the_cut_is_no_half_set():
    """Somebody opens it for writing before we can look at it again: that is
    not a qemu-img that was kept out."""
    tools.require("qemu-io")
    env = with_qemu_img("case $* in *\"-c\"*) (exec qemu-io -c 'sleep 6000' a/x.qcow2) "
                        ">/dev/null 2>&1 </dev/null & sleep 0.3;; esac")
    made = nbdsnap("create", "-n", "s", "a/x.qcow2", "b/x.qcow2", env=env)
    assert made.returncode == 9 and len(made.stderr.splitlines()) == 1
    assert len(unfinished()) == 1
    deadline = time.monotonic() + 30
    while nbdsnap("doctor").returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert not native("a/x.qcow2") and not native("b/x.qcow2")


def test_an_image_and_its_backing_file_are_no_set():
    """Our own lock on the one would keep qemu-img out of the other."""
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "a/x.qcow2", "-F", "qcow2",
               "top.qcow2"])
    refused(nbdsnap("create", "-n", "s", "a/x.qcow2", "top.qcow2"), 1,
            "a/x.qcow2: is a backing file of top.qcow2")
    assert unfinished() == [] and not native("top.qcow2")


def test_a_name_that_is_no_text_can_be_recovered():
    name = b"a/\xff\xfe.qcow2"
    os.rename(b"a/x.qcow2", name)
    os.symlink(name[2:], b"a/x.qcow2")
    env = with_qemu_img("[ -e cut ] && kill -9 $PPID; : >cut")
    made = subprocess.run(
        [*map(os.fsencode, command("create", "-n", "s")), name, b"b/x.qcow2"], env=env,
        capture_output=True, check=False)
    assert made.returncode == -9
    assert answer("doctor")["unfinished"] == []
    assert not native("a/x.qcow2") and not native("b/x.qcow2")
