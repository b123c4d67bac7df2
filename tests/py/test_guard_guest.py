# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever is killed, stopped, hung or lied inside the window, the guest runs
and is thawed: the guard and an owner of it, with a guest that is only its
state, and something done to one of them at every request that it gets."""

import os
import pathlib
import resource
import signal
import threading
import time

import pytest

from snaplib import fake_guest, guard, tools
from snaplib.guard_owner import (AGENT, CUT, NONE, OWNER, PAUSE, Fault, Owner, children, kill,
                                 lives, run, wait_for, window)

FAILED, BUSY, UNSUPPORTED, CORRUPT, FROZEN = 0, 4, 6, 7, 12


def assert_loose(guest):
    """Nobody is left who would do anything to it, and it runs."""
    guest.await_end()
    assert guest.running and not guest.frozen


@pytest.fixture
def guest():
    made = fake_guest.FakeGuest()
    yield made
    made.close()


# ---- what it does ----

def names(guest):
    """The requests that matter, in order."""
    return [step for step in guest.steps
            if step not in ("guest-sync-delimited", "query-status", "guest-fsfreeze-status")]


def test_a_guest_is_frozen_and_stopped_for_the_cut(guest):
    states = []
    guest.commands["transaction"] = lambda arguments: states.append(
        (guest.running, guest.frozen, arguments)) or {}
    owner = Owner(guest, window())
    assert owner.started == "ok" and names(guest) == []
    assert owner.say("quiet") == "ok"
    assert guest.frozen and not guest.running and states == []
    assert owner.say("go") == "ok 1 1 1 1"
    assert guest.running and not guest.frozen
    assert states == [(False, True, {"actions": []})]
    assert names(guest) == ["guest-fsfreeze-freeze", "stop", "transaction", "cont",
                            "guest-fsfreeze-thaw"]
    owner.end()
    assert_loose(guest)


def test_a_paused_window_leaves_the_agent_alone(guest):
    assert run(guest, window(PAUSE)) == "ok 1 0 1 0"
    assert names(guest) == ["stop", "transaction", "cont"]
    assert_loose(guest)


def test_a_window_of_none_only_executes(guest):
    assert run(guest, window(NONE, commands=[CUT, {"execute": "eject"}])) == "ok 0 0 0 0"
    assert guest.steps == ["transaction", "eject"]
    assert not guest.was_stopped and not guest.was_frozen


def test_a_guest_that_was_paused_stays_so():
    for quiesce in (AGENT, PAUSE):
        guest = fake_guest.FakeGuest(running=False)
        assert run(guest, window(quiesce, "paused")) == "ok 0 0 0 0"
        guest.await_end()
        assert names(guest) == ["transaction"] and not guest.running
        assert not guest.was_frozen
        guest.close()


def test_an_undo_lets_it_go_without_the_cut(guest):
    assert run(guest, window(), ["quiet", "undo"]) == "ok"
    assert "transaction" not in guest.steps and guest.was_frozen and guest.was_stopped
    assert_loose(guest)


def test_an_owner_that_forgets_the_rest_lets_it_go(guest):
    assert run(guest, window(), ["quiet"]) == "ok"
    assert_loose(guest)


def test_go_alone_quiets_too(guest):
    assert run(guest, window(), ["go"]) == "ok 1 1 1 1"
    assert_loose(guest)


# ---- what it refuses ----

def refused(answer, code, text):
    assert answer.startswith(f"error {code} ") and text in answer, answer


def test_what_somebody_else_has_frozen_is_left_to_them():
    guest = fake_guest.FakeGuest(frozen=True)
    refused(run(guest, window()), BUSY, "frozen by somebody else")
    guest.await_end()
    assert guest.frozen and names(guest) == []
    guest.close()


def test_what_somebody_else_freezes_before_us_is_left_to_them(guest):
    """Between our look and our freeze."""
    def at(number, name, moment):
        if name == "guest-fsfreeze-freeze" and moment == "before":
            guest.frozen = True
    guest.at = at
    refused(run(guest, window()), BUSY, "frozen by somebody else")
    guest.await_end()
    assert guest.frozen and guest.running and "guest-fsfreeze-thaw" not in guest.steps


def test_an_agent_that_may_not_freeze_is_not_thawed(guest):
    guest.agent_commands["guest-fsfreeze-freeze"] = \
        lambda arguments: fake_guest.refuse("has been disabled", "CommandNotFound")
    refused(run(guest, window()), UNSUPPORTED, "disabled")
    assert "guest-fsfreeze-thaw" not in guest.steps and not guest.was_stopped
    assert_loose(guest)


@pytest.mark.parametrize("quiesce", [AGENT, PAUSE])
@pytest.mark.parametrize("said", ["running", "paused"])
def test_a_guest_that_is_not_as_it_was_seen_is_refused(quiesce, said):
    guest = fake_guest.FakeGuest(running=said != "running")
    refused(run(guest, window(quiesce, said)), BUSY, "by somebody else")
    guest.await_end()
    assert guest.running == (said != "running") and names(guest) == []
    guest.close()


def test_a_guest_that_somebody_else_stops_before_us_is_thawed_when_it_can_hear(guest):
    """Its agent is deaf until they let it go."""
    def at(number, name, moment):
        if name == "guest-fsfreeze-freeze" and moment == "after":
            guest.set_running(False)
            threading.Timer(1, guest.set_running, [True]).start()
    guest.at = at
    refused(run(guest, window()), BUSY, "stopped by somebody else")
    assert "stop" not in guest.steps and "cont" not in guest.steps
    assert_loose(guest)


def test_a_cut_that_somebody_else_spoils_by_continuing_has_failed(guest):
    def at(number, name, moment):
        if name == "transaction" and moment == "before":
            guest.cont()
    guest.at = at
    refused(run(guest, window(PAUSE)), BUSY, "continued by somebody else")
    assert_loose(guest)


def test_a_guest_that_thaws_by_itself_is_not_called_frozen(guest):
    def at(number, name, moment):
        if name == "transaction":
            guest.frozen = False
    guest.at = at
    assert run(guest, window()) == "ok 1 0 1 0"
    assert_loose(guest)


def test_what_is_no_command_is_refused_before_anything_happens(guest):
    for text in ('{"execute": 7}', '{"arguments": {}}', "{", '{"execute": "x"'):
        other = fake_guest.FakeGuest()
        refused(run(other, f"guest agent running\ncommand {text}\n"), CORRUPT, "command 1")
        assert other.steps == []
        other.close()


def test_an_agent_that_is_absent_is_found_before_anything_happens(guest):
    guest.agent_commands["guest-sync-delimited"] = lambda arguments: fake_guest.DEAF
    refused(run(guest, window()), FAILED, "guest agent")
    assert not guest.was_frozen and not guest.was_stopped
    assert_loose(guest)


# ---- what goes wrong in the guest ----

def test_a_cut_that_fails_is_undone(guest):
    guest.commands["transaction"] = lambda arguments: fake_guest.refuse("no such node")
    refused(run(guest, window(commands=[{"execute": "x"}, CUT, {"execute": "y"}])), FAILED,
            "no such node")
    assert "x" in guest.steps and "y" not in guest.steps
    assert guest.was_frozen and guest.was_stopped
    assert_loose(guest)


def test_a_freeze_that_fails_half_way_is_undone(guest):
    def fail(arguments):
        guest.freeze()
        fake_guest.refuse("failed to freeze /b")
    guest.agent_commands["guest-fsfreeze-freeze"] = fail
    refused(run(guest, window()), FAILED, "failed to freeze /b")
    assert not guest.was_stopped and guest.was_frozen
    assert_loose(guest)


def test_a_thaw_that_did_not_thaw_is_tried_again(guest):
    lies = [1, 1]
    def thaw(arguments):
        if lies:
            return lies.pop()
        guest.frozen = False
        return 0
    guest.agent_commands["guest-fsfreeze-thaw"] = thaw
    assert run(guest, window()) == "ok 1 1 1 1"
    assert lies == []
    assert_loose(guest)


@pytest.mark.parametrize("name", ["stop", "transaction", "cont", "guest-fsfreeze-status"])
@pytest.mark.parametrize("agent", [True, False])
def test_a_guest_that_is_reset_is_continued_and_not_waited_for(guest, name, agent):
    """What was frozen is no more; its agent may be a long time coming."""
    def at(number, step, moment):
        if step == name and moment == "before" and guest.was_frozen and not struck:
            struck.append(number)
            guest.reset(agent)
    struck = []
    guest.at = at
    answer = run(guest, window())
    assert struck and answer == "ok 1 0 1 0", answer
    assert_loose(guest)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_reset_before_the_freeze_is_answered_lets_nobody_off(guest, moment):
    """The guest that boots may have read what was sent to the one before it."""
    def at(number, step, then):
        if step == "guest-fsfreeze-freeze" and then == moment:
            guest.event("RESET")
    guest.at = at
    assert run(guest, window()) == "ok 1 1 1 1"
    assert guest.was_frozen
    assert_loose(guest)


def test_a_freeze_that_froze_nothing_is_not_called_one(guest):
    guest.agent_commands["guest-fsfreeze-freeze"] = lambda arguments: 0
    assert run(guest, window()) == "ok 1 0 1 0"
    assert_loose(guest)


@pytest.mark.parametrize("name", ["guest-fsfreeze-freeze", "stop", "transaction", "cont",
                                  "guest-fsfreeze-thaw"])
def test_a_qemu_that_is_killed_has_no_guest(guest, name):
    def at(number, step, moment):
        if step == name and moment == "before":
            guest.vanish()
    guest.at = at
    answer = run(guest, window())
    assert answer and not answer.startswith(f"error {FROZEN}"), answer
    if name in ("guest-fsfreeze-freeze", "stop", "transaction"):
        assert answer.startswith("error "), answer
    guest.await_end()


def raw(guest, text, deadline_ms):
    """A guard with another deadline, owned by us."""
    made = guard.Guard(text, deadline_ms, guest=[end.fileno() for end in guest.hand_over()])
    guest.let_go_of()
    return made


@pytest.mark.parametrize("name", ["guest-fsfreeze-freeze", "stop", "transaction"])
def test_what_is_not_answered_in_time_is_undone(guest, name):
    """It was done, or is done much later."""
    commands = guest.agent_commands if name.startswith("guest") else guest.commands
    done = commands.get(name, lambda arguments: {})
    late = threading.Event()

    def dawdle(arguments):
        late.wait(6)
        return done(arguments)
    commands[name] = dawdle
    made = raw(guest, window(), 4000)
    assert made.line() == "ready"
    made.end.send(b"go\n")
    answer = made.line()
    if answer == "quiet":
        made.end.send(b"cut\n")
        answer = made.line()
    assert answer.startswith("failed "), answer
    made.wait()
    assert_loose(guest)
    assert guest.was_frozen


def test_an_owner_that_is_silent_cannot_keep_it_still(guest):
    made = raw(guest, window(), 4000)
    assert made.line() == "ready"
    made.end.send(b"go\n")
    assert made.line() == "quiet"
    answer = made.line()
    assert answer.startswith("failed ") and "deadline" in answer, answer
    made.wait()
    assert_loose(guest)
    assert "transaction" not in guest.steps


def test_who_is_late_with_the_cut_is_told(guest):
    made = raw(guest, window(), 4000)
    made.line()
    made.end.send(b"go\n")
    assert made.line() == "quiet"
    made.process.wait(60)
    with pytest.raises(BrokenPipeError):
        made.end.send(b"cut\n")
    assert made.line().startswith("failed ")
    made.wait()
    assert_loose(guest)


def test_an_agent_that_never_thaws_is_said_to_stand_still(guest):
    guest.agent_commands["guest-fsfreeze-thaw"] = \
        lambda arguments: fake_guest.refuse("thaw failed")
    made = raw(guest, window(), 4000)
    made.line()
    made.end.send(b"go\n")
    assert made.line() == "quiet"
    made.end.send(b"cut\n")
    answer = made.line()
    assert answer.startswith("stuck guest: "), answer
    made.wait()
    assert guest.running


# ---- who is killed ----

def count_steps():
    """How many requests a whole window makes, and which."""
    guest = fake_guest.FakeGuest()
    assert run(guest, window()) == "ok 1 1 1 1"
    guest.close()
    return guest.steps


STEPS = count_steps() if OWNER.exists() else []
# Before there is a worker, in the checks, nothing stands still.
FIRST = STEPS.index("guest-fsfreeze-status") + 2 if STEPS else 0


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("who", ["worker", "watcher", "guard"])
def test_whatever_of_the_guard_is_killed_anywhere_the_guest_runs(who, moment):
    for number in range(FIRST, len(STEPS) + 1):
        guest = fake_guest.FakeGuest()
        owner, answer = Fault(who, number, moment).run(guest, window())
        assert guest.running and not guest.frozen, (number, answer)
        assert answer.startswith(f"error {FAILED} "), (number, answer)
        owner.end()
        assert_loose(guest)
        guest.close()
    print(f"TABLE {who} killed {moment} each of {len(STEPS) - FIRST + 1} requests: "
          "the guest ran, thawed")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("who", ["owner", "owner and worker", "owner and watcher"])
def test_with_the_owner_killed_anywhere_who_is_left_lets_it_go(who, moment):
    for number in range(FIRST, len(STEPS) + 1):
        guest = fake_guest.FakeGuest()
        owner, answer = Fault(who, number, moment).run(guest, window())
        assert answer == ""
        guest.await_end()
        assert guest.running and not guest.frozen, number
        owner.end()
        guest.close()
    print(f"TABLE {who} killed {moment} each of {len(STEPS) - FIRST + 1} requests: "
          "the guest ran, thawed")


@pytest.mark.parametrize("who", ["worker", "watcher", "guard", "owner", "owner and worker",
                                 "owner and watcher"])
def test_whoever_is_killed_while_the_owner_cuts_the_guest_runs(guest, who):
    """And nothing more is cut."""
    owner = Owner(guest, window())
    assert owner.say("quiet") == "ok"
    kill(*owner.victims(who))
    answer = owner.say("go")
    assert answer == "" if "owner" in who else answer.startswith(f"error {FAILED} ")
    owner.end()
    assert_loose(guest)
    assert guest.was_frozen and "transaction" not in guest.steps


# ---- who is stopped ----

@pytest.mark.parametrize("name", ["guest-fsfreeze-freeze", "stop", "transaction", "cont",
                                  "guest-fsfreeze-thaw"])
def test_a_worker_that_is_stopped_is_ended_at_the_deadline(guest, name):
    def at(number, step, moment):
        if step == name and moment == "after" and not struck.is_set():
            os.kill(children(made.process.pid)[0], signal.SIGSTOP)
            struck.set()
    struck = threading.Event()
    guest.at = at
    made = raw(guest, window(), 5000)
    assert made.line() == "ready"
    made.end.send(b"go\n")
    answer = made.line()
    if answer == "quiet":
        made.end.send(b"cut\n")
        answer = made.line()
    assert struck.is_set() and answer.startswith("failed ") and "deadline" in answer, answer
    made.wait()
    assert_loose(guest)


def stopped_owner(guest, name):
    """An owner that is stopped at that request, when its guard has ended."""
    def at(number, step, moment):
        if step == name and moment == "before":
            os.kill(owner.process.pid, signal.SIGSTOP)
    guest.at = at
    owner = Owner(guest, window())
    watcher = owner.watcher
    owner.process.stdin.write("quiet\ngo\n")
    owner.process.stdin.flush()
    wait_for(lambda: not lives(watcher))
    assert guest.was_frozen and guest.running and not guest.frozen
    os.kill(owner.process.pid, signal.SIGCONT)
    return owner


def test_an_owner_that_is_stopped_before_its_cut_is_not_waited_for(guest):
    owner = stopped_owner(guest, "stop")
    assert owner.answer() == "ok"
    refused(owner.answer(), FAILED, "deadline")
    owner.end()
    assert "transaction" not in guest.steps
    assert_loose(guest)


def test_an_owner_that_is_stopped_after_its_cut_is_not_needed(guest):
    owner = stopped_owner(guest, "transaction")
    assert owner.answer() == "ok" and owner.answer() == "ok 1 1 1 1"
    owner.end()
    assert_loose(guest)


def test_a_watcher_that_is_stopped_is_not_needed(guest):
    def at(number, step, moment):
        if step == "stop" and moment == "before":
            os.kill(owner.watcher, signal.SIGSTOP)
    guest.at = at
    owner = Owner(guest, window())
    assert owner.say("quiet") == "ok"
    worker = owner.worker
    owner.process.stdin.write("go\n")
    owner.process.stdin.flush()
    wait_for(lambda: not lives(worker))
    assert guest.was_frozen and guest.running and not guest.frozen
    kill(owner.watcher)
    assert owner.answer().startswith(f"error {FAILED} ")
    owner.end()
    assert_loose(guest)


# ---- how it is made ----

def field(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise KeyError(name)


def test_memory_is_locked_and_no_device_mapper_is_needed(guest):
    tools.require_root()
    owner = Owner(guest, window())
    assert owner.say("quiet") == "ok"
    for pid in (owner.watcher, owner.worker):
        assert field(pid, "VmLck") > 1000
        assert "libdevmapper" not in pathlib.Path(f"/proc/{pid}/maps").read_text()
    assert "libdevmapper" not in pathlib.Path(f"/proc/{owner.process.pid}/maps").read_text()
    assert owner.say("go") == "ok 1 1 1 1"
    owner.end()


def test_who_may_not_lock_memory_can_have_a_guest_quieted(guest):
    tools.require_root()
    program = guard.program()
    owner = Owner(guest, window(), user=65534, group=65534, extra_groups=[],
                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)))
    if "did not start" in owner.started:
        tools.missing(f"others may not run {program}")
    assert owner.say("go") == "ok 1 1 1 1"
    owner.end()
    assert_loose(guest)


def busy_ticks(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(stat[11]) + int(stat[12])


def test_who_waits_takes_nothing_of_the_guest_s_time(guest):
    """A guest has a processor less for as long as the guard is busy."""
    spent = []

    def freeze(arguments):
        ticks, began = busy_ticks(owner.worker), time.monotonic()
        time.sleep(2)
        spent.append((busy_ticks(owner.worker) - ticks) / os.sysconf("SC_CLK_TCK")
                     / (time.monotonic() - began))
        return guest.freeze()
    guest.agent_commands["guest-fsfreeze-freeze"] = freeze
    owner = Owner(guest, window())
    assert owner.say("go") == "ok 1 1 1 1"
    owner.end()
    assert spent[0] < 0.05, f"busy for {spent[0]:.0%} of the time"


SILENT = ("open", "openat", "execve", "fork", "clone", "connect", "fsync", "write")
WAKE_UP = ', "\\1\\0\\0\\0\\0\\0\\0\\0", 8)'  # to an eventfd, of GLib


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_opened_while_the_guest_stands_still(guest, tmp_path, monkeypatch, fails):
    tools.require("strace")
    log = tmp_path / "calls"
    (tmp_path / "guard").write_text(
        f'#!/bin/sh\nexec strace -f -s 300 -o "{log}" "{guard.program()}" "$@"\n')
    (tmp_path / "guard").chmod(0o755)
    monkeypatch.setenv("NBDSNAP_GUARD", str(tmp_path / "guard"))
    if fails:
        guest.commands["transaction"] = lambda arguments: fake_guest.refuse("no room")
    assert run(guest, window()).startswith("error 0 guest: " if fails else "ok 1 1 1 1")
    assert_loose(guest)
    lines = log.read_text().splitlines()
    frozen = next(i for i, line in enumerate(lines) if "guest-fsfreeze-freeze" in line)
    thawed = max(i for i, line in enumerate(lines) if "guest-fsfreeze-status" in line)
    bad = [line for line in lines[frozen + 1:thawed] for call in SILENT
           if f" {call}(" in line and WAKE_UP not in line]
    assert 0 < frozen < thawed and bad == []
