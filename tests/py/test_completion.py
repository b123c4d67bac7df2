# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion in a real, interactive bash: keys go in, and the line that comes
out is what a user would have."""

import json
import os
import pathlib
import pty
import re
import shlex
import subprocess
import time

import pytest

from snaplib import tools
from snaplib.cli import done

COMPLETIONS = pathlib.Path("/usr/share/bash-completion/bash_completion")
DEADLINE = 30  # seconds
KILL_LINE, COMPLETE_ALL, SAVE = b"\x15", b"\x1b*", b"\x18s"

STARTUP = """
PS1=
set -o emacs
bind 'set bell-style none' 'set enable-bracketed-paste off'
bind '"\\e*": insert-completions'
bind -x '"\\C-xs": printf %s "$READLINE_LINE" >saving; mv saving saved'
"""


class Shell:
    """bash on a terminal.  What it shows is not looked at: the line being
    edited is saved to a file."""

    def __init__(self, startup):
        self.terminal, theirs = pty.openpty()
        env = dict(os.environ, PATH=f"{tools.BUILD}:{os.environ['PATH']}",
                   TERM="dumb", HISTFILE="", LC_ALL="C.UTF-8")
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--rcfile", str(startup), "-i"], env=env,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        os.set_blocking(self.terminal, False)

    def type(self, keys):
        os.write(self.terminal, keys)

    def drain(self):
        """A terminal that nobody reads blocks its shell."""
        try:
            while os.read(self.terminal, 65536):
                pass
        except BlockingIOError:
            pass

    def wait_for(self, path):
        end = time.monotonic() + DEADLINE
        while not os.path.exists(path):
            assert time.monotonic() < end, f"bash never made {path}"
            self.drain()
            time.sleep(0.005)

    def line(self, typed, keys):
        """The line after these keys."""
        self.type(KILL_LINE + typed.encode() + keys + SAVE)
        self.wait_for("saved")
        line = pathlib.Path("saved").read_text(errors="surrogateescape")
        os.unlink("saved")
        return line

    def complete(self, typed):
        """What one TAB makes of it."""
        return self.line(typed, b"\t")

    def choices(self, typed):
        """All that there is to choose from, as words.  For bash, a word begins
        behind a colon: what stands before is not repeated."""
        line = self.line(typed, COMPLETE_ALL)
        head = typed[:max(typed.rfind(" "), typed.rfind(":")) + 1]
        assert line.startswith(head), (typed, line)
        return shlex.split(line[len(head):])

    def execute(self, line):
        """Run it; wait until it is over."""
        self.type(KILL_LINE + line.encode(errors="surrogateescape")
                  + b" >output 2>&1; mv output executed\n")
        self.wait_for("executed")
        output = pathlib.Path("executed").read_text(errors="surrogateescape")
        os.unlink("executed")
        return output

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture
def shell(tmp_path, monkeypatch):
    tools.require("bash", "qemu-img")
    if not COMPLETIONS.exists():
        tools.missing("bash-completion is not installed")
    monkeypatch.chdir(tmp_path)
    startup = tmp_path / ".startup"
    startup.write_text(
        f"source {COMPLETIONS}\n"
        f"source {shlex.quote(str(tools.TOP / 'cli/nbdsnap-completion.bash'))}\n"
        + STARTUP)
    shell = Shell(startup)
    yield shell
    shell.close()


def make_image(path="disk.qcow2", *snapshots):
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"])
    for name in snapshots:
        tools.run(["qemu-img", "snapshot", "-c", name, path])


def help_of(*words):
    return subprocess.run([str(tools.nbdsnap()), *words, "--help"],
                          capture_output=True, text=True).stdout


def verbs():
    return re.findall(r"^  (\w+) +[A-Z]", help_of(), re.M)


# ---- words that are always the same ----

def test_every_verb_is_offered(shell):
    assert sorted(shell.choices("nbdsnap ")) == sorted(verbs())
    assert sorted(shell.choices("nbdsnap help ")) == sorted(verbs())
    assert sorted(shell.choices("nbdsnap --json --state-dir x ")) == sorted(verbs())
    assert shell.complete("nbdsnap cre") == "nbdsnap create "
    assert shell.complete("nbdsnap nothing") == "nbdsnap nothing"


def test_every_option_of_every_verb_is_offered(shell):
    for words in ([], *([verb] for verb in verbs() if verb != "help")):
        wanted = re.findall(r"^  (?:-\w, )?(--[\w-]+)", help_of(*words), re.M)
        line = " ".join(["nbdsnap", *words, "-"])
        assert sorted(shell.choices(line)) == sorted(wanted), line
    assert shell.complete("nbdsnap delete --dry") == "nbdsnap delete --dry-run "


def test_values_of_options_are_offered(shell):
    formats = ["json", "map", "qemu-map", "text", "totals"]
    for form in ("--format ", "-f ", "--format="):
        assert sorted(shell.choices(f"nbdsnap diff {form}")) in (
            formats, [f"--format={formats[0]}", *formats[1:]]), form
    assert shell.complete("nbdsnap diff --format=q") == "nbdsnap diff --format=qemu-map "
    assert shell.complete("nbdsnap create --quiesce n") == "nbdsnap create --quiesce none "
    os.mkdir("state")
    assert shell.complete("nbdsnap --state-dir st") == "nbdsnap --state-dir state/"


# ---- volumes ----

def test_volumes_are_files(shell):
    make_image()
    assert shell.complete("nbdsnap list di") == "nbdsnap list disk.qcow2 "
    assert shell.complete("nbdsnap list qcow2:di") == "nbdsnap list qcow2:disk.qcow2"
    # A point is to follow: no space.
    assert shell.complete("nbdsnap show di") == "nbdsnap show disk.qcow2"
    assert shell.complete("nbdsnap drivers di") == "nbdsnap drivers di"


def test_a_volume_with_a_space_is_quoted(shell):
    make_image("my disk.qcow2")
    line = shell.complete("nbdsnap list my")
    assert shlex.split(line) == ["nbdsnap", "list", "my disk.qcow2"]


# ---- points ----

WORDS = ("live", "newest", "backing", "empty")


@pytest.mark.parametrize("verb", ["show", "delete", "diff"])
@pytest.mark.parametrize("volume", ["disk.qcow2", "qcow2:disk.qcow2", "./disk.qcow2"])
def test_points_are_those_of_the_volume(shell, verb, volume):
    make_image("disk.qcow2", "mon", "tue", "wed")
    offered = shell.choices(f"nbdsnap {verb} {volume}@")
    path = volume.removeprefix("qcow2:")
    assert sorted(offered) == sorted(
        f"{path}@{point}" for point in ("mon", "tue", "wed", *WORDS))
    assert shell.complete(f"nbdsnap {verb} {volume}@m") == f"nbdsnap {verb} {volume}@mon"


def test_both_ends_of_a_range_are_completed(shell):
    make_image("disk.qcow2", "mon", "tue")
    assert shell.complete("nbdsnap diff disk.qcow2@mon..t") == (
        "nbdsnap diff disk.qcow2@mon..tue")
    assert sorted(shell.choices("nbdsnap diff disk.qcow2@mon..")) == sorted(
        f"disk.qcow2@mon..{point}" for point in ("mon", "tue", *WORDS))


def test_the_state_directory_of_the_line_is_used(shell):
    """A set that is unfinished there is not offered."""
    make_image()
    done("create", "-n", "mine", "disk.qcow2")
    (manifest,) = pathlib.Path("state/sets").iterdir()
    entry = json.loads(manifest.read_text())
    entry["kind"] = "create"
    pathlib.Path("state/journal", manifest.name).write_text(json.dumps(entry))
    for option in ("--state-dir state", "--state-dir=state"):
        offered = shell.choices(f"nbdsnap {option} show disk.qcow2@")
        assert "disk.qcow2@mine" not in offered, option
    assert "disk.qcow2@mine" in shell.choices("nbdsnap --state-dir other show disk.qcow2@")


# ---- what others may have named things ----

HOSTILE = [
    "$(touch pwned)", "`touch pwned`", "; touch pwned", "a b", "'", '"', "\\", "*",
    "$HOME", "~", "!!", "&touch pwned&", "|touch pwned", ">pwned", "#x", "{a,b}",
    "a\nb; touch pwned", "-x", "$'\\x24(touch pwned)'", "é", "@", "a@b", ":", "..", "%41"]


def leaves_nothing():
    return not pathlib.Path("pwned").exists()


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_snapshot_name_is_completed_and_never_run(shell, name):
    """The only choice: completed, executed, and it shows that snapshot."""
    make_image("disk.qcow2", name, "zzz")
    listed = json.loads(done("list", "--json", "disk.qcow2"))
    reference = listed["volumes"][0]["snapshots"][0]["reference"]
    point = reference.split("@", 1)[1]
    typed = "nbdsnap show --json disk.qcow2@"
    offered = shell.choices(typed)
    assert leaves_nothing()
    assert sorted(offered) == sorted(
        f"disk.qcow2@{p}" for p in (point, "zzz", *WORDS))
    line = shell.complete(typed + shlex.quote(point[:1]))
    assert leaves_nothing()
    if shlex.split(line)[-1] == f"disk.qcow2@{point}":
        shown = json.loads(shell.execute(line))
        assert shown["name"] == name
    assert leaves_nothing()


@pytest.mark.parametrize("name", [
    "$(touch pwned).qcow2", "`touch pwned`.qcow2", "a;touch pwned;.qcow2",
    "$(touch${IFS}pwned).qcow2"])
def test_a_hostile_volume_name_is_never_run(shell, name):
    make_image(name, "mon")
    quoted = shlex.quote(name)
    for typed in ("nbdsnap show ", f"nbdsnap show {quoted}@", f"nbdsnap show {name}@",
                  f"nbdsnap show qcow2:{quoted}@", "nbdsnap list qcow2:",
                  f"nbdsnap show {name}", f"nbdsnap list --state-dir {quoted} "):
        for keys in (b"\t", COMPLETE_ALL):
            shell.line(typed, keys)
            assert leaves_nothing(), typed
    line = shell.complete("nbdsnap list " + name[:1].replace("$", "\\$").replace("`", "\\`"))
    assert shlex.split(line)[-1] == name
    assert "mon" in shell.execute(line) and leaves_nothing()
