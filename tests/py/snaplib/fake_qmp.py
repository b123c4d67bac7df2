# SPDX-License-Identifier: LGPL-2.1-or-later
"""A monitor without a QEMU, healthy unless told otherwise (see fake_peer.py):

    with FakeQmp(path) as monitor:
        monitor.on("cont", answer({}))           # says so, and does not resume
        monitor.on("stop", when(told, normally()))
    FakeQmp(path, greeting=silence())            # busy with somebody else
"""

import json

from snaplib.fake_peer import FakePeer, answer, error, event, normally, not_found, steps

GREETING = {"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""},
                    "capabilities": ["oob"]}}


def status(word):
    """What query-status returns."""
    return {"status": word, "running": word == "running", "singlestep": False}


class FakeQmp(FakePeer):
    """`status` is what query-status says, `answers` what other commands return
    ({name: value}), and `negotiated` whether the client may give commands."""

    def __init__(self, path, answers=(), greeting=normally()):
        self.answers, self.greeting = dict(answers), greeting
        self.status, self.negotiated = "running", False
        super().__init__(path)

    def greet(self, client):
        self.negotiated = False
        self.greeting(client, None)

    def act(self, client, request):
        if request is None:
            client.send(json.dumps(GREETING).encode() + b"\r\n")
        elif "execute" not in request:
            error("GenericError", "QMP input lacks member 'execute'")(client, request)
        else:
            self._respond(request)(client, request)

    def _respond(self, request):
        command = request["execute"]
        if command == "qmp_capabilities":
            return self._negotiate()
        if not self.negotiated:
            return error("CommandNotFound",
                         "Expecting capabilities negotiation with 'qmp_capabilities'")
        if command in self.answers:
            return answer(self.answers[command])
        own = {"query-status": self._tell, "stop": self._stop, "cont": self._cont}
        return own[command]() if command in own else not_found()

    def _negotiate(self):
        if self.negotiated:
            return error("CommandNotFound",
                         "Capabilities negotiation is already complete, command ignored")
        self.negotiated = True
        return answer({})

    def _tell(self):
        return answer(status(self.status))

    # The events come before the reply.
    def _stop(self):
        was, self.status = self.status, "paused" if self.status == "running" else self.status
        return steps(event("STOP"), answer({})) if was == "running" else answer({})

    def _cont(self):
        was, self.status = self.status, "running"
        return steps(event("RESUME"), answer({})) if was != "running" else answer({})

    def complain(self, client):
        client.reply({}, {"error": {"class": "GenericError",
                                    "desc": "JSON parse error, expecting value"}})

    def encode_reply(self, request, message):
        """The id is the request's own, if it has one."""
        if "id" in request:
            message = dict(message, id=request["id"])
        return json.dumps(message).encode() + b"\r\n"
