# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that is only its state: running or not, frozen or not.  It speaks
as QEMU's monitor and as the guest agent over connections that were made
before, and something can be done at every request it gets."""

import json
import socket
import threading

DEAF = object()  # what a command does that is not answered


class Connection(threading.Thread):
    """One of the two conversations, served until the other side is gone."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.near, self.far = socket.socketpair()
        self.answer = answer
        self.ended = threading.Event()

    def run(self):
        rest = b""
        try:
            while True:
                more = self.near.recv(65536)
                if not more:
                    break
                *lines, rest = (rest + more).split(b"\n")
                for line in lines:
                    line = line.replace(b"\xff", b"").strip()
                    if line:
                        self.answer(self, json.loads(line))
        except OSError:
            pass
        self.ended.set()

    def send(self, message, before=b""):
        try:
            self.near.sendall(before + json.dumps(message).encode() + b"\r\n")
        except OSError:
            pass


class FakeGuest:
    """`steps` are the requests so far, in their order.  `at` is called with
    the number of a request (from 1), its name, and "before" or "after" it is
    done; its answer comes after both.  `commands` are functions that take the
    arguments, and return, raise Refused, or return DEAF."""

    FILE_SYSTEMS = 2

    def __init__(self, running=True, frozen=False):
        self.running, self.frozen = running, frozen
        self.still = "paused"  # what it is called while it does not run
        self.was_frozen = self.was_stopped = self.gone = False
        self.steps = []
        self.at = lambda number, name, moment: None
        self.changed = threading.Condition()
        self.commands = {
            "query-status": lambda arguments: {
                "status": "running" if self.running else self.still,
                "running": self.running, "singlestep": False},
            "stop": self.stop, "cont": self.cont}
        self.agent_commands = {
            "guest-sync-delimited": lambda arguments: arguments["id"],
            "guest-sync": lambda arguments: arguments["id"],
            "guest-ping": lambda arguments: {},
            "guest-fsfreeze-status": lambda arguments: "frozen" if self.frozen else "thawed",
            "guest-fsfreeze-freeze": self.freeze, "guest-fsfreeze-thaw": self.thaw}
        self.monitor = Connection(self.answer_monitor)
        self.agent = Connection(self.answer_agent)
        self.monitor.start()
        self.agent.start()

    # ---- what it does ----

    def set_running(self, running):
        with self.changed:
            self.running = running
            self.was_stopped |= not running
            self.changed.notify_all()

    def event(self, name):
        self.monitor.send({"event": name, "timestamp": {"seconds": 1, "microseconds": 2}})

    def stop(self, arguments=None):
        if self.running:
            self.set_running(False)
            self.event("STOP")
        return {}

    def cont(self, arguments=None):
        if not self.running:
            self.set_running(True)
            self.event("RESUME")
        return {}

    def reset(self, agent=True):
        """As by its reset button; without an agent, nobody answers any more."""
        self.frozen = False
        self.still = self.still if self.running else "prelaunch"
        if not agent:
            self.agent_commands = dict.fromkeys(self.agent_commands, lambda arguments: DEAF)
        self.event("RESET")

    def freeze(self, arguments=None):
        self.frozen = self.was_frozen = True
        return self.FILE_SYSTEMS

    def thaw(self, arguments=None):
        thawed = self.FILE_SYSTEMS if self.frozen else 0
        self.frozen = False
        return thawed

    # ---- how it speaks ----

    def step(self, request, do):
        name = request["execute"]
        with self.changed:
            self.steps.append(name)
            number = len(self.steps)
        self.at(number, name, "before")
        answer = {}
        try:
            answer["return"] = do(request.get("arguments"))
        except Refused as refusal:
            answer["error"] = {"class": refusal.kind, "desc": str(refusal)}
        self.at(number, name, "after")
        if "id" in request:
            answer["id"] = request["id"]
        return None if answer.get("return") is DEAF else answer

    def answer_monitor(self, connection, request):
        answer = self.step(request, lambda arguments: self.commands.get(
            request["execute"], lambda _: {})(arguments))
        if answer:
            connection.send(answer)

    def answer_agent(self, connection, request):
        with self.changed:  # its processors do nothing while they are stopped
            self.changed.wait_for(lambda: self.running or self.gone)
        name = request["execute"]
        answer = self.step(request, lambda arguments: self.agent_command(name)(arguments))
        if answer:
            connection.send(answer, b"\xff" if name == "guest-sync-delimited" else b"")

    def agent_command(self, name):
        allowed = ("guest-sync", "guest-ping", "guest-fsfreeze-status", "guest-fsfreeze-thaw")
        if name not in self.agent_commands or (self.frozen and not name.startswith(allowed)):
            return lambda arguments: refuse(
                f"Command {name} has been disabled: the agent is in frozen state",
                "CommandNotFound")
        return self.agent_commands[name]

    # ---- what a test asks ----

    def hand_over(self):
        """The descriptors for the other side, which then has the only ones."""
        return self.monitor.far, self.agent.far

    def let_go_of(self):
        """Our copies of what was handed over."""
        self.monitor.far.close()
        self.agent.far.close()

    def await_end(self, seconds=120):
        """Until nobody has a connection to it any more."""
        for connection in (self.monitor, self.agent):
            assert connection.ended.wait(seconds), "somebody still has a connection"

    def vanish(self):
        """As a QEMU does that is killed."""
        with self.changed:
            self.gone = True
            self.changed.notify_all()
        for connection in (self.monitor, self.agent):
            connection.near.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.let_go_of()
        self.vanish()
        for connection in (self.monitor, self.agent):
            connection.join(60)
            connection.near.close()


class Refused(Exception):
    def __init__(self, text, kind="GenericError"):
        super().__init__(text)
        self.kind = kind


def refuse(text, kind="GenericError"):
    raise Refused(text, kind)
