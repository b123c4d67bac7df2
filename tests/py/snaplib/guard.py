# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guard by itself, spoken to as its owner does, and faults inside the
window: at the N'th request of the half that suspends and resumes."""

import fcntl
import os
import select
import signal
import socket
import subprocess

from snaplib import tools

SHIM = tools.BUILD / ".libs" / "fault-at-change.so"
FIRST_FD = 3  # socket, window, monitor, agent, notes
NOTES_SIZE = 4


def program():
    return os.environ["NBDSNAP_GUARD"]


def faults(at, what, owner=None, **more):
    """The environment in which it happens to the guard."""
    found = dict(os.environ, LD_PRELOAD=str(SHIM), FAULT_IN="nbdsnap-guard",
                 FAULT_CALL="ioctl", FAULT_AT=str(at), FAULT_DO=what, **more)
    if owner is not None:
        found["FAULT_OWNER"] = str(owner)
    return found


def window(suspend, messages):
    return "".join([*(f"suspend {device}\n" for device in suspend),
                    *(f"message {device} {text}\n" for device, text in messages)])


class Owner:
    """A process that says "go" when told to and then nothing, and can be
    killed."""

    def __init__(self, end):
        self.process = subprocess.Popen(
            ["sh", "-c", f"read word; echo go >&{end.fileno()}; read word"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            pass_fds=[end.fileno()])
        self.pid = self.process.pid

    def go(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.communicate()


class Guard:
    """A running guard.  We are its owner unless `owned` says that somebody
    else, who can be killed, is.  `guest` are the descriptors of a guest."""

    def __init__(self, text, deadline_ms=10000, at=None, what="kill", owned=False,
                 guest=None):
        self.end, far_end = socket.socketpair()
        memory = os.memfd_create("window")
        os.write(memory, text.encode())
        self.notes = open(os.memfd_create("notes"), "r+b")
        self.notes.truncate(NOTES_SIZE)
        nothing = os.open("/dev/null", os.O_RDWR)
        given = [far_end.fileno(), memory, *(guest or (nothing, nothing)),
                 self.notes.fileno()]
        self.owner = Owner(self.end) if owned else None
        environment = os.environ
        if at is not None:
            environment = faults(at, what, self.owner and self.owner.pid)

        def place():
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in given]
            for new, old in enumerate(high, FIRST_FD):
                os.dup2(old, new)

        self.process = subprocess.Popen(
            [program(), str(deadline_ms)], env=environment, close_fds=False,
            start_new_session=True, preexec_fn=place, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE)
        far_end.close()
        os.close(memory)
        os.close(nothing)

    def line(self, seconds=60):
        """Its next line, or "" when it is gone."""
        found = b""
        while not found.endswith(b"\n"):
            if not select.select([self.end], [], [], seconds)[0]:
                raise TimeoutError(found)
            more = self.end.recv(1)
            if not more:
                break
            found += more
        return found.decode().rstrip("\n")

    def run(self):
        """The whole conversation; its last word."""
        ready = self.line()
        if ready != "ready":
            return ready
        if not self.owner:
            self.end.send(b"go\n")
            return self.line()
        self.end.close()
        self.owner.go()
        return ""

    def wait(self, seconds=60):
        """Until no process of it is left; whether the fault happened."""
        printed, _ = self.process.communicate(timeout=seconds)
        self.end.close()
        self.notes.close()
        if self.owner:
            self.owner.end()
        return b"fault at ioctl" in printed

    def kill(self):
        """All of it, whatever it is doing."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait()
