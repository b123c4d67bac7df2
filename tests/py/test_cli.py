# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the verbs do to two qcow2 images: sets, names, holds, interruptions,
exit codes; and their JSON, which is what the manual pages show."""

import hashlib
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

import pytest

from snaplib import tools
from snaplib.cli import answer, command, done, nbdsnap, refused

DEADLINE = 30  # seconds
IMAGES = ("a.qcow2", "b.qcow2")
MEMBERS = tuple(f"{image}@s" for image in IMAGES)


@pytest.fixture(autouse=True)
def images(tmp_path, monkeypatch):
    """Two images, a written part in each."""
    tools.require("qemu-img", "qemu-io")
    monkeypatch.chdir(tmp_path)
    for image in IMAGES:
        tools.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"])
        write(image, 0)


def write(image, offset):
    tools.run(["qemu-io", "-f", "qcow2", "-c", f"write -q {offset} 64k", image])


def create_set(name="s"):
    return answer("create", "-n", name, *IMAGES, code=4)


def listed():
    """The names of the snapshots of each image."""
    volumes = answer("list", *IMAGES)["volumes"]
    return [[s["name"] for s in volume["snapshots"]] for volume in volumes]


def native(image):
    info = json.loads(tools.run(["qemu-img", "info", "--output=json", image]))
    return [s["name"] for s in info.get("snapshots", [])]


def everything():
    """A digest of every file below the working directory."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in pathlib.Path(".").rglob("*") if path.is_file()}


def wait_until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- the JSON ----

def documented(verb):
    """The object that the verb's manual page shows."""
    page = (tools.TOP / "docs" / f"nbdsnap-{verb}.pod").read_text()
    section = page.split("=head1 JSON\n", 1)[1]
    lines = section.strip("\n").split("\n\n", 1)[0]
    return json.loads(lines)


def assert_same_shape(real, shown, where):
    """The same members in the same order, and values of the same types."""
    assert type(real) is type(shown), (where, real, shown)
    if isinstance(shown, dict):
        assert list(real) == list(shown), where
        for key in shown:
            assert_same_shape(real[key], shown[key], f"{where}.{key}")
    if isinstance(shown, list) and shown:
        assert real, where
        for item in real:
            assert_same_shape(item, shown[0], f"{where}[]")


@pytest.mark.parametrize("verb, code, arguments", [
    ("create", 4, ["-n", "more", *IMAGES]),
    ("create", 0, ["a.qcow2"]),
    ("list", 0, IMAGES),
    ("list", 0, []),
    ("show", 0, ["a.qcow2@t"]),
    ("delete", 0, ["--dry-run", *MEMBERS]),
    ("delete", 0, MEMBERS),
    ("diff", 0, ["a.qcow2@s..t"]),
    ("doctor", 0, []),
    ("doctor", 0, ["--dry-run"]),
    ("drivers", 0, [])])
def test_json_is_what_the_manual_page_shows(verb, code, arguments):
    create_set("s")
    write("a.qcow2", 65536)
    create_set("t")
    real = answer(verb, *arguments, code=code)
    assert_same_shape(real, documented(verb), verb)


def test_a_diff_has_every_member_that_readers_rely_on():
    """Not taken from the page: what was once promised stays."""
    create_set()
    write("a.qcow2", 131072)
    diff = answer("diff", "a.qcow2@s..live")
    for member, kind in {
            "volume": str, "from": str, "from_id": str, "to": str, "to_id": str,
            "from_size": int, "size": int, "granularity": int, "extents": list,
            "proof": str, "source": str, "dirty_bytes": int, "complete": bool,
            "retained": bool}.items():
        assert type(diff[member]) is kind, member
    assert list(diff)[-1] == "complete" and diff["complete"] is True
    assert diff["extents"] == [{"offset": 131072, "length": 65536, "zero": False}]
    assert diff["dirty_bytes"] == 65536 and diff["retained"] is False


@pytest.mark.parametrize("point, kind", [
    ("s", "snapshot"), ("newest", "snapshot"), ("live", "live"),
    ("backing", "backing"), ("empty", "empty")])
def test_every_point_can_be_shown(point, kind):
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2",
               "-b", "b.qcow2", "top.qcow2"])
    made = answer("create", "-n", "s", "top.qcow2")
    shown = answer("show", f"top.qcow2@{point}")
    assert shown["kind"] == kind
    assert shown["size"] == (0 if kind == "empty" else 1 << 20)
    snapshot = kind == "snapshot"
    assert shown["set"] == (made["set"] if snapshot else None)
    assert shown["ours"] is snapshot
    assert shown["consistency"] == ("atomic" if snapshot else None)
    assert (re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown["time"])
            if snapshot else shown["time"] is None)


# ---- sets ----

def test_a_set_has_one_name_one_id_and_a_weaker_consistency():
    made = create_set()
    assert made["consistency"] == "sequential" and made["window_us"] > 0
    assert [s["reference"] for s in made["snapshots"]] == [
        f"qcow2:{image}@s" for image in IMAGES]
    for image in IMAGES:
        shown = answer("show", f"{image}@s")
        assert shown["set"] == made["set"]
        assert shown["consistency"] == "sequential"
        assert native(image) != []
    assert listed() == [["s"], ["s"]]


def test_one_volume_is_one_instant_also_with_atomic():
    made = answer("create", "--atomic", "a.qcow2")
    assert made["consistency"] == "atomic"
    assert re.fullmatch(r"\d{8}T\d{6}Z", made["name"])


def test_atomic_is_refused_for_two_images_and_changes_neither():
    done("create", "-n", "before", "a.qcow2")
    before = everything()
    refused(nbdsnap("create", "--atomic", "-n", "s", *IMAGES), 1, "one instant")
    assert everything().items() >= before.items()
    assert listed() == [["before"], []]


def test_a_set_is_refused_if_one_member_has_the_name():
    done("create", "-n", "s", "b.qcow2")
    refused(nbdsnap("create", "-n", "s", *IMAGES), 1, "b.qcow2@s", "exists")
    assert listed() == [[], ["s"]]


def test_one_volume_under_two_names_is_refused():
    os.symlink("a.qcow2", "link.qcow2")
    refused(nbdsnap("create", "a.qcow2", "link.qcow2"), 2, "same volume")
    refused(nbdsnap("create", "a.qcow2", "qcow2:./a.qcow2"), 2, "same volume")
    assert listed() == [[], []]


def test_a_name_used_again_is_another_snapshot():
    first = create_set()["snapshots"][0]["id"]
    done("delete", "-q", *MEMBERS)
    second = create_set()["snapshots"][0]["id"]
    assert first != second
    refused(nbdsnap("diff", f"a.qcow2@{first.replace('/', '%2F')}..live"), 5,
            "full copy")
    assert answer("show", f"a.qcow2@{second}")["name"] == "s"


def test_points_of_unrelated_images_are_not_compared():
    create_set()
    refused(nbdsnap("diff", *MEMBERS), 5)


# ---- delete ----

def test_a_snapshot_inside_an_image_is_no_file_or_device():
    create_set()
    for verb in ("activate", "deactivate"):
        refused(nbdsnap(verb, MEMBERS[0]), 1, MEMBERS[0], "can be served")
        refused(nbdsnap(verb, "a.qcow2@live"), 2, "is no snapshot")
        refused(nbdsnap(verb, *MEMBERS), 2, "one VOLUME@POINT")


def test_a_dry_run_deletes_nothing_and_checks_everything():
    made = create_set()
    before = everything()
    planned = answer("delete", "--dry-run", *MEMBERS)
    assert planned["dry_run"] is True
    assert [d["id"] for d in planned["deleted"]] == [
        s["id"] for s in made["snapshots"]]
    assert everything() == before
    refused(nbdsnap("delete", "-n", *MEMBERS, "a.qcow2@gone"), 1, "gone")
    assert answer("delete", *MEMBERS)["deleted"] == planned["deleted"]
    assert listed() == [[], []] and native("a.qcow2") == native("b.qcow2") == []


@pytest.mark.parametrize("bad, code, word", [
    ("b.qcow2@gone", 1, "gone"), ("a.qcow2@s", 2, "twice"),
    ("b.qcow2@live", 2, "no snapshot"), ("b.qcow2@foreign", 1, "not made by"),
    ("b.qcow2", 2, "VOLUME@POINT")])
def test_one_bad_member_keeps_all_of_them(bad, code, word):
    create_set()
    tools.run(["qemu-img", "snapshot", "-c", "foreign", "b.qcow2"])
    refused(nbdsnap("delete", "a.qcow2@s", bad), code, word)
    assert listed() == [["s"], ["s", "foreign"]]


# ---- holds ----

@pytest.fixture
def blocked_diff():
    """A diff of more extents than a pipe and a buffer hold, and nobody reads."""
    cluster = b"x" * 512 + bytes(512)
    pathlib.Path("raw").write_bytes(cluster * 4096)
    tools.run(["qemu-img", "convert", "-O", "qcow2", "-S", "512",
               "-o", "cluster_size=512", "raw", "many.qcow2"])
    done("create", "-n", "s", "many.qcow2")
    process = subprocess.Popen(
        command("diff", "--json", "many.qcow2@empty..s"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    head = process.stdout.read(1)
    assert head == b"{"
    yield process
    process.kill()
    process.communicate()


def test_a_point_in_use_is_held_until_its_user_is_done(blocked_diff):
    for dry_run in (["--dry-run"], []):
        refused(nbdsnap("delete", *dry_run, "many.qcow2@s"), 3, "held")
    assert answer("show", "many.qcow2@s")["held"] is True
    rest, errors = blocked_diff.communicate(timeout=DEADLINE)
    assert blocked_diff.returncode == 0 and errors == b""
    diff = json.loads(b"{" + rest)
    assert len(diff["extents"]) == 8192 and diff["complete"] is True
    assert answer("show", "many.qcow2@s")["held"] is False
    done("delete", "many.qcow2@s")


def test_a_hold_ends_with_its_killed_user(blocked_diff):
    refused(nbdsnap("delete", "many.qcow2@s"), 3, "held")
    blocked_diff.kill()
    blocked_diff.wait()
    done("delete", "many.qcow2@s")


# ---- at the same time ----

def with_tool(case):
    """An environment in which qemu-img is a script with these cases, of its
    arguments and the files that it is given open."""
    folder = pathlib.Path("bin").resolve()
    folder.mkdir(exist_ok=True)
    tool = folder / "qemu-img"
    tool.write_text(f'#!/bin/sh\ncase "$* "$(readlink /proc/$$/fd/*) in {case} esac\n'
                    f'exec {shlex.quote(tools.which("qemu-img"))} "$@"\n')
    tool.chmod(0o755)
    return dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}")


class Paused:
    """A run whose qemu-img waits, at ACTION on IMAGE, until told to go."""

    def __init__(self, action, image, *arguments):
        here = pathlib.Path(".").resolve()
        self.go = here / "go"
        self.waiting = here / "waiting"
        env = with_tool(
            f"*' {action} '*{image}*) echo $$ >'{self.waiting}'; i=0; "
            f"while [ ! -e '{self.go}' ] && [ $((i += 1)) -lt 1000 ]; "
            "do sleep 0.02; done ;;")
        self.process = subprocess.Popen(
            command(*arguments), env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: self.waiting.exists() and self.waiting.read_text())

    def kill(self):
        """The run, not its qemu-img: that one goes on, and is waited for."""
        self.process.kill()
        self.process.communicate()
        self.go.touch()
        tool = pathlib.Path("/proc", self.waiting.read_text().strip(), "exe")
        wait_until(lambda: not tool.exists())

    def finish(self):
        self.go.touch()
        output, errors = self.process.communicate(timeout=DEADLINE)
        return subprocess.CompletedProcess(
            [], self.process.returncode, output, errors)


def test_an_unfinished_set_is_hidden_and_left_alone():
    paused = Paused("-c", "b.qcow2", "create", "-n", "s", *IMAGES)
    assert len(native("a.qcow2")) == 1
    assert listed() == [[], []]
    refused(nbdsnap("show", "a.qcow2@s"), 1)
    for image in IMAGES:
        refused(nbdsnap("create", "-n", "other", image), 3, image)
    doctor = answer("doctor")
    assert doctor["finished"] == 0 and doctor["unfinished"] == []
    assert paused.finish().returncode == 4
    assert listed() == [["s"], ["s"]]


def test_a_set_whose_maker_was_killed_is_hidden_until_it_is_undone():
    paused = Paused("-c", "b.qcow2", "create", "-n", "s", *IMAGES)
    paused.kill()
    assert listed() == [[], []]
    assert len(native("a.qcow2")) == len(native("b.qcow2")) == 1
    unfinished = answer("doctor", "--dry-run")["unfinished"]
    assert len(unfinished) == 1 and re.fullmatch("[0-9a-f]{16}", unfinished[0])
    # The next create does what doctor would, says so, and may use the name.
    made = nbdsnap("create", "-n", "s", *IMAGES)
    assert made.returncode == 4 and "finished: 1" in made.stderr
    assert len(made.stderr.splitlines()) == 1
    assert listed() == [["s"], ["s"]]
    assert len(native("a.qcow2")) == len(native("b.qcow2")) == 1


def test_creates_at_once_on_one_image_all_end_well():
    """Each makes its snapshot, or says that the image is busy; and nothing of
    theirs is in the way of the next one."""
    runs = [subprocess.Popen(
        command("create", "-q", "-n", f"s{i}", "a.qcow2"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for i in range(6)]
    made = []
    for process in runs:
        output, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode in (0, 3), errors
        assert len(errors.splitlines()) == (process.returncode == 3), errors
        made += output.split()
    made += done("create", "-q", "-n", "after", "a.qcow2").split()
    assert sorted(made) == sorted(done("list", "-q", "a.qcow2").split())
    assert len(native("a.qcow2")) == len(made)
    assert not [n for n in os.listdir("state/journal") if n.endswith(".json")]
    tools.run(["qemu-img", "check", "-q", "a.qcow2"])


# ---- interruptions and failures half-way ----

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_undoes_a_set_that_is_half_made(number):
    paused = Paused("-c", "b.qcow2", "create", "-n", "s", *IMAGES)
    paused.process.send_signal(number)
    refused(paused.finish(), 130)
    assert native("a.qcow2") == native("b.qcow2") == []
    assert answer("doctor", "--dry-run")["unfinished"] == []


def test_a_signal_does_not_stop_a_deletion_half_way():
    create_set()
    paused = Paused("-d", "b.qcow2", "delete", *MEMBERS)
    paused.process.send_signal(signal.SIGTERM)
    result = paused.finish()
    assert result.returncode == 0 and result.stderr == ""
    assert native("a.qcow2") == native("b.qcow2") == []


def test_a_deletion_that_fails_half_way_is_finished_by_doctor():
    create_set()
    env = with_tool("*' -d '*b.qcow2*) echo no >&2; exit 1 ;;")
    refused(nbdsnap("delete", *MEMBERS, env=env), 9, "b.qcow2")
    assert listed() == [[], []] and native("b.qcow2") != []
    failed = nbdsnap("doctor", "--json", env=env)
    assert failed.returncode == 9 and len(failed.stderr.splitlines()) == 1
    unfinished = json.loads(failed.stdout)["unfinished"]
    assert len(unfinished) == 1 and "b.qcow2" in failed.stderr
    assert done("doctor", "--dry-run") == f"unfinished: {unfinished[0]}\n"
    assert done("doctor") == "finished: 1\n"
    assert done("doctor") == "nothing is unfinished\n"
    assert native("a.qcow2") == native("b.qcow2") == []


def test_a_deletion_that_fails_at_once_is_called_off():
    create_set()
    env = with_tool("*' -d '*a.qcow2*) echo no >&2; exit 1 ;;")
    refused(nbdsnap("delete", *MEMBERS, env=env), 1, "a.qcow2")
    assert listed() == [["s"], ["s"]]
    assert answer("doctor", "--dry-run")["unfinished"] == []
