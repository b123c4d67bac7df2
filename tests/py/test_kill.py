# SPDX-License-Identifier: LGPL-2.1-or-later
"""A set is complete or absent, also after SIGKILL at any step.

Every state-changing system call of a two-volume create and delete is hit in
turn: strace kills the process there, and N goes up until a run survives.
"""

import json
import os
import subprocess
import time

import pytest

from snaplib import tools

CALLS = (
    "openat,creat,write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,"
    "fsync,fdatasync,mkdir,mkdirat,ftruncate,fcntl,clone,clone3,vfork,fork"
)
# Far above what a run needs: a run that never survives is a failure.
LIMIT = 2000


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("strace", "qemu-img", "qemu-io")


class Bed:
    """Two images, a state directory, and what must be true of them."""

    def __init__(self, folder):
        self.folder = folder
        self.state = folder / "state"
        self.images = [folder / "a.qcow2", folder / "b.qcow2"]
        for image in self.images:
            image.unlink(missing_ok=True)
            tools.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"])
            tools.run(["qemu-io", "-f", "qcow2", "-c", "write -q 0 128k", image])
        # Made beforehand, so that only the operation itself is enumerated.
        (self.state / "x").mkdir(parents=True, exist_ok=True)

    def command(self, *arguments):
        return [tools.nbdsnap(), "--state-dir", self.state, *arguments]

    def nbdsnap(self, *arguments):
        return subprocess.run(
            [str(a) for a in self.command(*arguments)],
            capture_output=True, text=True, timeout=60)

    def native(self, image):
        """Snapshot names as qemu-img sees them, once nobody writes."""
        for _ in range(100):
            result = subprocess.run(
                ["qemu-img", "info", "--output=json", image],
                capture_output=True, text=True)
            if result.returncode == 0:
                break
            time.sleep(0.05)
        assert result.returncode == 0, result.stderr
        return [s["name"] for s in json.loads(result.stdout).get("snapshots", [])]

    def listed(self):
        result = self.nbdsnap("list", "--json", *self.images)
        assert result.returncode == 0, result.stderr
        volumes = json.loads(result.stdout)["volumes"]
        return [[s["name"] for s in volume["snapshots"]] for volume in volumes]

    def check(self):
        """The set is on both or on neither; before recovery, as listed."""
        counts = [len(self.native(image)) for image in self.images]
        seen = self.listed()
        assert seen[0] == seen[1], f"half a set is listed: {seen}"
        recovered = self.nbdsnap("doctor")
        assert recovered.returncode == 0, recovered.stderr
        after = [len(self.native(image)) for image in self.images]
        assert after[0] == after[1], f"half a set is left: {after} of {counts}"
        assert self.listed() == seen or not self.listed()[0] or after[0] == 1
        assert not os.listdir(self.state / "journal")
        strays = [f for f in (self.state / "sets").glob("*") if f.suffix != ".json"]
        assert not strays, strays
        for image in self.images:
            tools.run(["qemu-img", "check", "-q", image])
        return after[0]


def kill_at(n, command, calls=CALLS):
    """Run; SIGKILL at the n-th of these calls.  True if it was killed."""
    result = subprocess.run(
        ["strace", "-o", "/dev/null", "-e", f"trace={calls}",
         "-e", f"inject={calls}:signal=KILL:when={n}", *map(str, command)],
        capture_output=True, text=True, timeout=60)
    return result.returncode in (-9, 137), result


def first_call_that_matters(command, state):
    """Loading libraries changes nothing: skip to the first call that names
    the state directory."""
    log = state.parent / "calls"
    subprocess.run(
        ["strace", "-o", log, "-e", f"trace={CALLS}", *map(str, command)],
        capture_output=True, timeout=60, check=False)
    for number, line in enumerate(log.read_text().splitlines(), 1):
        if str(state) in line:
            return number
    raise AssertionError("the state directory was never touched")


def test_create_killed_at_every_call_is_complete_or_absent(tmp_path):
    bed = Bed(tmp_path)
    start = first_call_that_matters(
        bed.command("create", "-n", "s", *bed.images), bed.state)
    outcomes = {0: 0, 1: 0}
    for n in range(start, LIMIT):
        bed = Bed(tmp_path)
        killed, result = kill_at(n, bed.command("create", "-n", "s", *bed.images))
        if not killed:
            assert result.returncode == 4, result.stderr
            break
        outcomes[bed.check()] += 1
    else:
        pytest.fail("never survived")
    print(f"TABLE create of 2 volumes: SIGKILL at {n - start} system calls: "
          f"{outcomes[0]} times absent, {outcomes[1]} times complete")
    assert outcomes[0] > 10 and outcomes[1] > 0


def test_delete_killed_at_every_call_is_complete_or_absent(tmp_path):
    def fresh():
        bed = Bed(tmp_path)
        made = bed.nbdsnap("create", "-n", "s", *bed.images)
        assert made.returncode == 4, made.stderr
        return bed, bed.command("delete", *(f"{i}@s" for i in bed.images))

    bed, command = fresh()
    start = first_call_that_matters(command, bed.state)
    outcomes = {0: 0, 1: 0}
    for n in range(start, LIMIT):
        bed, command = fresh()
        killed, result = kill_at(n, command)
        if not killed:
            assert result.returncode == 0, result.stderr
            break
        outcomes[bed.check()] += 1
    else:
        pytest.fail("never survived")
    print(f"TABLE delete of 2 volumes: SIGKILL at {n - start} system calls: "
          f"{outcomes[0]} times absent, {outcomes[1]} times complete")
    assert outcomes[0] > 0 and outcomes[1] > 5


def run_with_mortal_tool(folder, command, action, victim, at):
    """Run with a qemu-img that dies at its at-th change to a file, if it is
    the victim-th one to be started with this action."""
    shim = tools.BUILD / ".libs" / "kill-at-write.so"
    wrapper = folder / "bin" / "qemu-img"
    wrapper.parent.mkdir(exist_ok=True)
    wrapper.write_text(f"""#!/bin/sh
case "$*" in
*" {action} "*)
    echo x >>"{folder}/count"
    if [ "$(wc -l <"{folder}/count")" = {victim} ]; then
        export KILL_AT={at} LD_PRELOAD={shim}
    fi ;;
esac
exec {tools.which("qemu-img")} "$@"
""")
    wrapper.chmod(0o755)
    (folder / "count").unlink(missing_ok=True)
    env = dict(os.environ, PATH=f"{wrapper.parent}:{os.environ['PATH']}")
    return subprocess.run([str(word) for word in command], env=env,
                          capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("victim", [1, 2])
def test_create_whose_qemu_img_is_killed_leaves_nothing(tmp_path, victim):
    """The tool dies at each of its changes; we live and must clean up."""
    killed = 0
    for n in range(1, LIMIT):
        bed = Bed(tmp_path)
        result = run_with_mortal_tool(
            tmp_path, bed.command("create", "-n", "s", *bed.images), "-c", victim, n)
        if result.returncode == 4:
            break
        killed += 1
        assert result.returncode == 1, result.stderr
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert bed.check() == 0
    else:
        pytest.fail("never survived")
    assert killed > 10
    print(f"TABLE qemu-img {victim} of 2 in a create killed at {killed} of its "
          "changes: nothing left each time")


@pytest.mark.parametrize("victim", [1, 2])
def test_delete_whose_qemu_img_is_killed_is_all_or_nothing(tmp_path, victim):
    """A deletion of which a part is done is finished by recovery."""
    killed = 0
    for n in range(1, LIMIT):
        bed = Bed(tmp_path)
        assert bed.nbdsnap("create", "-n", "s", *bed.images).returncode == 4
        command = bed.command("delete", *(f"{i}@s" for i in bed.images))
        result = run_with_mortal_tool(tmp_path, command, "-d", victim, n)
        if result.returncode == 0:
            break
        killed += 1
        assert result.returncode in (1, 9), result.stderr
        assert len(result.stderr.splitlines()) == 1, result.stderr
        # 1: nothing changed, the set is whole; 9: the journal has the rest.
        assert bed.check() == (1 if result.returncode == 1 else 0)
    else:
        pytest.fail("never survived")
    assert killed > 5
    print(f"TABLE qemu-img {victim} of 2 in a delete killed at {killed} of its "
          "changes: all or nothing each time")
