# SPDX-License-Identifier: LGPL-2.1-or-later
"""A place between the guard and a real guest, where something can be done at
every request that passes."""

import re
import socket
import threading

from snaplib import qmp

REQUEST = re.compile(rb'"execute" *: *"([^"]*)"')


class Line(threading.Thread):
    """One direction of one conversation; its end is passed on."""

    def __init__(self, source, target, see=lambda text: None):
        super().__init__(daemon=True)
        self.source, self.target, self.see = source, target, see
        self.start()

    def run(self):
        try:
            while text := self.source.recv(1 << 16):
                self.see(text)
                self.target.sendall(text)
        except OSError:
            pass
        try:
            self.target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Relay:
    """Both connections of a guest.Guest, the monitor's negotiated.  `at` is
    called as FakeGuest's is, but a request is "before" only."""

    def __init__(self, guest):
        self.steps, self.lock = [], threading.Lock()
        self.at = lambda number, name, moment: None
        agent = socket.socket(socket.AF_UNIX)
        agent.connect(str(guest.agent_path))
        self.real = [qmp.Monitor(guest.qmp_path).lines.socket, agent]
        self.pairs = [socket.socketpair() for _ in self.real]
        self.threads = []
        for real, (near, _) in zip(self.real, self.pairs):
            real.settimeout(None)
            self.threads += [Line(near, real, self.see), Line(real, near)]

    def see(self, text):
        for name in REQUEST.findall(text):
            with self.lock:
                self.steps.append(name.decode())
                number = len(self.steps)
            self.at(number, name.decode(), "before")

    def hand_over(self):
        """The descriptors for the other side, which then has the only ones."""
        return [far for _, far in self.pairs]

    def let_go_of(self):
        for _, far in self.pairs:
            far.close()

    def await_end(self, seconds=120):
        """Until nobody has a connection to it any more, and it can be asked."""
        for thread in self.threads:
            thread.join(seconds)
            assert not thread.is_alive(), "somebody still has a connection"
        for one in [*self.real, *(near for near, _ in self.pairs)]:
            one.close()
