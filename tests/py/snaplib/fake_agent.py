# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest agent without a guest, healthy unless told otherwise (see
fake_peer.py):

    with FakeAgent(path) as agent:
        agent.on("guest-fsfreeze-freeze", when(told, normally()))    # late
        agent.on("guest-fsfreeze-thaw", error("GenericError", "no"), normally())
        agent.leave_behind(b'{"return": "thawed"}\\n')                # stale
"""

from snaplib.fake_peer import FakePeer, answer, error, not_found

# What runs while file systems are frozen.
ALWAYS = ("guest-ping", "guest-sync", "guest-sync-delimited", "guest-info",
          "guest-fsfreeze-status", "guest-fsfreeze-thaw")


class FakeAgent(FakePeer):
    """`frozen` is what it has done to its `n_filesystems`; `answers` is what
    other commands return ({name: value})."""

    def __init__(self, path, answers=(), n_filesystems=2):
        self.answers, self.n_filesystems, self.frozen = dict(answers), n_filesystems, False
        super().__init__(path)

    def act(self, client, request):
        if "execute" not in request:
            error("GenericError", "QMP input lacks member 'execute'")(client, request)
        else:
            self._respond(request)(client, request)

    def _respond(self, request):
        command = request["execute"]
        if self.frozen and command not in ALWAYS:
            return error("CommandNotFound", f"Command {command} has been disabled: "
                                            "the agent is in frozen state")
        own = {"guest-ping": lambda _: answer({}), "guest-sync": self._sync,
               "guest-sync-delimited": self._sync, "guest-fsfreeze-status": self._tell,
               "guest-fsfreeze-freeze": self._freeze, "guest-fsfreeze-thaw": self._thaw}
        if command in own:
            return own[command](request)
        return answer(self.answers[command]) if command in self.answers else not_found()

    def _sync(self, request):
        return answer(request["arguments"]["id"])

    def _tell(self, _):
        return answer("frozen" if self.frozen else "thawed")

    def _freeze(self, _):
        self.frozen = True
        return answer(self.n_filesystems)

    def _thaw(self, _):
        was, self.frozen = self.frozen, False
        return answer(self.n_filesystems if was else 0)

    def split(self, pending):
        """0xff says that what came before it is nobody's any more."""
        return super().split(pending.rpartition(b"\xff")[2])

    def encode_reply(self, request, message):
        mark = b"\xff" if request.get("execute") == "guest-sync-delimited" else b""
        return mark + super().encode_reply(request, message)
