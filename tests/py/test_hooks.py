# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands before and after a cut: when they are run, what they are told,
and what becomes of the set when one of them fails, is late or is interrupted."""

import os
import signal
import subprocess
import time

import pytest

from snaplib import cli, tools

SAY = 'echo "$NBDSNAP_HOOK $NBDSNAP_NAME ${NBDSNAP_OUTCOME-none}" >>said'


@pytest.fixture(autouse=True)
def disks(tmp_path, monkeypatch):
    tools.require("qemu-img")
    monkeypatch.chdir(tmp_path)
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M"])


def create(*options, **more):
    return cli.nbdsnap("create", "-q", "-n", "mon", *options, "a.qcow2", **more)


def names():
    return [s["name"] for s in cli.answer("list", "a.qcow2")["volumes"][0]["snapshots"]]


def lines(path="said"):
    try:
        with open(path) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def assert_nothing_is_left():
    assert names() == []
    assert cli.answer("doctor", "--dry-run")["unfinished"] == []


# ---- what they are ----

def test_they_are_run_just_before_and_just_after_the_cut():
    count = "qemu-img snapshot -U -l a.qcow2 | grep -c mon >>counts; true"
    result = create("--pre-cut", f"{SAY}; {count}", "--post-cut", f"{SAY}; {count}")
    assert (result.returncode, result.stderr) == (0, "")
    assert lines() == ["pre-cut mon none", "post-cut mon complete"]
    assert lines("counts") == ["0", "1"]
    assert names() == ["mon"]


def test_each_can_be_given_alone():
    assert create("--pre-cut", SAY).returncode == 0
    assert cli.nbdsnap("create", "-n", "tue", "--post-cut", SAY, "a.qcow2").returncode == 0
    assert lines() == ["pre-cut mon none", "post-cut tue complete"]


def test_they_have_our_environment_and_not_the_outcome_of_an_outer_one():
    say = 'echo "$NBDSNAP_SET $LC_ALL ${NBDSNAP_OUTCOME-none}" >said'
    environment = dict(os.environ, NBDSNAP_OUTCOME="outer", LC_ALL="C.UTF-8")
    made = cli.answer("create", "--pre-cut", say, "a.qcow2", env=environment)
    assert lines() == [f"{made['set']} C.UTF-8 none"]


def test_what_they_print_does_not_mix_with_what_we_print():
    result = create("--pre-cut", "echo one; echo two >&2", "--post-cut", "cat; echo three")
    assert result.returncode == 0
    assert result.stdout == "qcow2:a.qcow2@mon\n"
    assert result.stderr.splitlines() == ["one", "two", "three"]


def test_what_one_leaves_in_the_background_is_not_waited_for():
    start = time.monotonic()
    result = create("--pre-cut", "sleep 50 >&- 2>&- & echo $! >pid")
    os.kill(int(lines("pid")[0]), signal.SIGKILL)
    assert result.returncode == 0 and time.monotonic() - start < 40


@pytest.mark.parametrize("seconds", ["0", "-1", "86401"])
def test_a_time_that_makes_no_sense_is_refused(seconds):
    cli.refused(create(f"--hook-timeout={seconds}"), 2, "--hook-timeout")


# ---- what fails ----

def state_of(pid):
    """As proc(5) has it, or "-" for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "-"


def test_nothing_is_cut_when_the_first_fails_and_the_second_is_run():
    result = create("--pre-cut", f"{SAY}; exit 3", "--post-cut", SAY)
    cli.refused(result, 1, "pre-cut: exited with 3")
    assert lines() == ["pre-cut mon none", "post-cut mon failed"]
    assert_nothing_is_left()


def test_one_that_is_late_is_ended_with_all_that_it_started():
    hang = "(trap '' TERM; sleep 100) & echo $! >pid; wait"
    result = create("--hook-timeout=1", "--pre-cut", hang, "--post-cut", SAY)
    cli.refused(result, 1, "pre-cut: still running after 1.0 s")
    assert lines() == ["post-cut mon failed"]
    assert state_of(int(lines("pid")[0])) in "Z-"
    assert_nothing_is_left()


def test_one_that_is_killed_has_failed():
    cli.refused(create("--pre-cut", "kill -9 $$"), 1, "pre-cut: was killed by signal 9")
    assert_nothing_is_left()


def test_a_set_stays_when_the_second_fails_and_the_exit_code_says_so():
    result = create("--post-cut", "exit 5")
    assert result.returncode == 4
    assert (result.stdout, result.stderr) == ("qcow2:a.qcow2@mon\n",
                                              "nbdsnap: post-cut: exited with 5\n")
    assert names() == ["mon"]
    assert cli.answer("doctor")["owed"] == []


def test_json_tells_of_a_second_that_fails():
    result = cli.nbdsnap("create", "--json", "--post-cut", "exit 5", "a.qcow2")
    assert result.returncode == 4
    assert '"post_cut_failure":"post-cut: exited with 5"' in result.stdout
    made = cli.answer("create", "-n", "tue", "--post-cut", "true", "a.qcow2")
    assert made["post_cut_failure"] is None
    assert "post_cut_failure" not in cli.answer("create", "-n", "wed", "a.qcow2")


def test_both_can_fail_and_both_are_told():
    cli.refused(create("--pre-cut", "exit 3", "--post-cut", "exit 5"), 1,
                "pre-cut: exited with 3; post-cut: exited with 5")
    assert_nothing_is_left()


# ---- who is interrupted or killed ----

def interrupt(number, *options):
    process = subprocess.Popen(cli.command("create", "-q", "-n", "mon", *options, "a.qcow2"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not lines("begun"):
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def test_an_interrupt_ends_the_first_and_the_second_is_run():
    code, output, errors = interrupt(
        signal.SIGINT, "--pre-cut", "echo >begun; sleep 100", "--post-cut", SAY)
    assert (code, output) == (130, "") and "pre-cut: interrupted" in errors, errors
    assert lines() == ["post-cut mon interrupted"]
    assert_nothing_is_left()


def test_an_interrupt_does_not_end_the_second():
    code, _, _ = interrupt(
        signal.SIGTERM, "--post-cut", f"echo >begun; sleep 1; {SAY}; touch done")
    assert code == 0 and lines() == ["post-cut mon complete"] and os.path.exists("done")
    assert names() == ["mon"]


@pytest.mark.parametrize("who", ["--pre-cut", "--post-cut"])
def test_killed_in_between_the_command_that_was_not_run_is_told_and_not_run(who):
    """The set is complete or absent; what a user's command would do is theirs."""
    options = {"--pre-cut": "true", "--post-cut": SAY, who: "kill -9 $PPID"}
    result = create(*(word for pair in options.items() for word in pair))
    assert result.returncode == -signal.SIGKILL
    found = cli.answer("doctor")
    assert [(o["name"], o["post_cut"]) for o in found["owed"]] == \
        [("mon", options["--post-cut"])]
    assert names() == ([] if who == "--pre-cut" else ["mon"]) and lines() == []
    assert cli.answer("doctor")["owed"] == []


def test_whoever_finishes_what_was_killed_tells_of_the_command():
    create("--pre-cut", "kill -9 $PPID", "--post-cut", "release [the] %41pplication")
    result = create()
    assert result.returncode == 0
    assert ("mon: was killed before its post-cut command had ended, which is not run "
            "again: release [the] %41pplication") in result.stderr
