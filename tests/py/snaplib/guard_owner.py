# SPDX-License-Identifier: LGPL-2.1-or-later
"""An owner of a guard for a guest, as the services are, that does what it is
told; and the killing and stopping of it and of both halves of its guard."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

from snaplib import tools

OWNER = tools.BUILD / "tests" / "fakes" / "own-guard"
CUT = {"execute": "transaction", "arguments": {"actions": []}}
AGENT, PAUSE, NONE = "agent", "pause", "none"


def window(quiesce=AGENT, state="running", commands=(CUT,)):
    return "".join([f"guest {quiesce} {state}\n",
                    *(f"command {json.dumps(command)}\n" for command in commands)])


# ---- who can be killed ----

def children(pid):
    try:
        return [int(word) for word in pathlib.Path(
            f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def lives(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def kill(*pids):
    """And do not go on before they are gone.  One may go with the one before."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not lives(pid))


class Owner:
    """An owner as the services are, its guard, and a guest."""

    def __init__(self, guest, text, **options):
        self.guest = guest
        fds = [end.fileno() for end in guest.hand_over()]
        self.process = subprocess.Popen(
            [OWNER, *map(str, fds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pass_fds=fds, text=True, **options)
        guest.let_go_of()
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        self.started = self.answer()

    def answer(self):
        return self.process.stdout.readline().rstrip("\n")

    def say(self, word):
        """The answer to it; "" where none came."""
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return ""
        return self.answer()

    @property
    def watcher(self):
        """The kernel's list of children misses some at times."""
        wait_for(lambda: children(self.process.pid))
        return children(self.process.pid)[0]

    @property
    def worker(self):
        """Or None while there is none."""
        found = children(self.watcher)
        return found[0] if found else None

    def victims(self, who):
        parts = {"owner": ["owner"], "worker": ["worker"], "watcher": ["watcher"],
                 "guard": ["worker", "watcher"], "owner and worker": ["owner", "worker"],
                 # Not the other way round: it would end the worker.
                 "owner and watcher": ["watcher", "owner"]}[who]
        if "worker" in parts:
            wait_for(lambda: self.worker)
        return [self.process.pid if part == "owner" else getattr(self, part)
                for part in parts]

    def end(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()


def run(guest, text, words=("quiet", "go")):
    """(the last answer, the owner) of a whole conversation."""
    owner = Owner(guest, text)
    answer = owner.started
    for word in words:
        if answer != "ok":
            break
        answer = owner.say(word)
    owner.end()
    return answer


class Fault:
    """To be a guest's `at`: at request `number` of it, and that `moment`, who
    is named is killed."""

    def __init__(self, who, number, moment):
        self.who, self.number, self.moment = who, number, moment
        self.owner, self.struck = None, threading.Event()

    def __call__(self, number, name, moment):
        if (number, moment) == (self.number, self.moment):
            kill(*self.owner.victims(self.who))
            self.struck.set()

    def run(self, guest, text):
        """(the owner, its last answer) of a whole conversation, in which it has
        happened."""
        guest.at = self
        self.owner = Owner(guest, text)
        answer = self.owner.say("quiet")
        if answer == "ok":
            answer = self.owner.say("go")
        assert self.struck.wait(60), f"nothing happened at request {self.number}"
        return self.owner, answer
