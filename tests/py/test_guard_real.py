# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guard on a real guest: whatever is killed at whichever request, the guest
runs, is thawed, and its writer gets on."""

import os
import random

import pytest

from snaplib import guest_disks, tools
from snaplib.guard_owner import OWNER, Fault, Owner, window
from snaplib.guest import Guest
from snaplib.guest_relay import Relay

LONG = bool(os.environ.get("NBDSNAP_LONG"))
WHO = ["worker", "watcher", "guard", "owner", "owner and worker", "owner and watcher"]
SHORT = 2  # requests of each, in a short run
CUT = {"execute": "transaction", "arguments": {"actions": [
    {"type": "block-dirty-bitmap-add", "data": {"node": "fmt-a", "name": "cut"}}]}}
WRONG = {"execute": "transaction", "arguments": {"actions": [
    {"type": "block-dirty-bitmap-add", "data": {"node": "nowhere", "name": "cut"}}]}}


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    if not OWNER.exists():
        tools.missing(f"{OWNER} is not built")
    with Guest([guest_disks.raw(tmp_path_factory.mktemp("disks") / "a", 0)]) as booted:
        yield booted


def bitmaps(guest):
    return [bitmap["name"] for node in guest.qmp("query-named-block-nodes")
            for bitmap in node.get("dirty-bitmaps", ()) if "name" in bitmap]


def remove_bitmap(guest):
    if "cut" in bitmaps(guest):
        guest.qmp("block-dirty-bitmap-remove", node="fmt-a", name="cut")


def whole(guest, text):
    """(the relay, its owner's last answer) of a conversation in which nothing
    happens."""
    relay = Relay(guest)
    owner = Owner(relay, text)
    answer = owner.say("quiet")
    if answer == "ok":
        assert guest.status() == "paused"
        answer = owner.say("go")
    owner.end()
    relay.await_end()
    return relay, answer


def test_it_is_frozen_and_stopped_for_the_cut(guest):
    since = len(guest.log())
    relay, answer = whole(guest, window(commands=[CUT]))
    assert answer == "ok 1 1 1 1"
    guest.assert_runs_and_thawed()
    assert "cut" in bitmaps(guest)
    guest.wait_serial("HOOK freeze", since)
    guest.wait_serial("HOOK thaw", since)
    remove_bitmap(guest)


def test_a_cut_that_fails_is_undone(guest):
    _, answer = whole(guest, window(commands=[CUT, WRONG]))
    assert answer.startswith("error 0 guest: transaction: "), answer
    guest.assert_runs_and_thawed()
    remove_bitmap(guest)


def test_a_guest_that_was_paused_stays_so(guest):
    guest.qmp("stop")
    try:
        _, answer = whole(guest, window(state="paused", commands=[CUT]))
        assert answer == "ok 0 0 0 0" and guest.status() == "paused"
    finally:
        guest.qmp("cont")
    guest.assert_runs_and_thawed()
    remove_bitmap(guest)


def test_what_somebody_else_has_frozen_is_left_to_them(guest):
    guest.agent("guest-fsfreeze-freeze")
    try:
        relay = Relay(guest)
        owner = Owner(relay, window())
        assert "frozen by somebody else" in owner.started
        owner.end()
        relay.await_end()
        assert not guest.is_thawed()
    finally:
        guest.agent("guest-fsfreeze-thaw")
    guest.assert_runs_and_thawed()


def test_an_agent_that_hangs_is_found_before_anything_happens(guest):
    relay = Relay(guest)
    guest.stop_agent()
    try:
        owner = Owner(relay, window())
        assert owner.started.startswith("error 0 guest agent: "), owner.started
        owner.end()
        relay.await_end()
        guest.assert_runs()
    finally:
        guest.continue_agent()
    guest.assert_runs_and_thawed()


@pytest.fixture(scope="module")
def steps(guest):
    """What a whole window asks, from the worker's first request on."""
    relay, _ = whole(guest, window(commands=[CUT]))
    remove_bitmap(guest)
    first = relay.steps.index("guest-fsfreeze-status") + 2
    return range(first, len(relay.steps) + 1)


@pytest.mark.parametrize("who", WHO)
def test_whoever_is_killed_anywhere_it_runs_and_is_thawed(guest, steps, who):
    chosen = steps if LONG else sorted(random.sample(steps, SHORT))
    for number in chosen:
        relay = Relay(guest)
        owner, answer = Fault(who, number, "before").run(relay, window(commands=[CUT]))
        if "owner" not in who:
            assert answer.startswith("error 0 "), (number, answer)
            assert guest.status() == "running"
        owner.end()
        relay.await_end()
        guest.assert_runs_and_thawed()
        remove_bitmap(guest)
    print(f"TABLE {who} killed at requests {list(chosen)}: the real guest ran, thawed")
