# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scripted monitor and agent behave as the real ones do, and misbehave as
they are told; driven by the clients that also talk to the real ones."""

import socket
import threading
import time

import pytest

from snaplib import qmp
from snaplib.fake_agent import FakeAgent
from snaplib.fake_peer import (
    after, answer, become, error, half, hang_up, later, normally, not_found, quietly, silence,
    steps, when)
from snaplib.fake_qmp import FakeQmp, status

SHORT = 0.3
FREEZE, THAW, STATUS = (f"guest-fsfreeze-{verb}" for verb in ("freeze", "thaw", "status"))


@pytest.fixture
def monitor(tmp_path):
    with FakeQmp(tmp_path / "qmp") as fake:
        yield fake


@pytest.fixture
def agent(tmp_path):
    with FakeAgent(tmp_path / "agent") as fake:
        yield fake


def refusal(client, command, **arguments):
    with pytest.raises(qmp.Refused) as refused:
        client.execute(command, **arguments)
    return refused.value


# ---- the healthy ones ----

def test_a_monitor_stops_and_resumes_and_says_so_before_it_answers(monitor):
    client = qmp.Monitor(monitor.path)
    assert client.execute("query-status") == status("running")
    for command, word, name in (("stop", "paused", "STOP"), ("cont", "running", "RESUME")):
        client.execute(command)
        assert (monitor.status, client.events[-1]["event"]) == (word, name)
        assert client.execute("query-status")["status"] == word
    assert monitor.commands() == [
        "qmp_capabilities", "query-status", "stop", "query-status", "cont", "query-status"]
    assert refusal(client, "no-such").kind == "CommandNotFound"
    client.close()


def test_a_monitor_expects_to_be_negotiated_with_once(monitor):
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(monitor.path)
        plain.sendall(b'{"execute": "query-status"}{"execute": "qmp_capabilities"}'
                      b'{"execute": "qmp_capabilities", "id": {"a": 1}} {"no": 1} nonsense\n')
        seen = b""
        while b"JSON parse error" not in seen:
            seen += plain.recv(4096)
    for words in (b"Expecting capabilities", b'{"return": {}}', b"already complete",
                  b'"id": {"a": 1}', b"lacks member 'execute'"):
        assert words in seen


def test_a_second_client_is_greeted_when_the_first_has_gone(monitor):
    first = qmp.Monitor(monitor.path)
    with pytest.raises(TimeoutError):
        qmp.Monitor(monitor.path, timeout=SHORT)
    first.close()
    qmp.Monitor(monitor.path).close()


def test_an_agent_freezes_once_and_thaws_again_and_again(agent):
    with qmp.Agent(agent.path) as client:
        assert client.execute(STATUS) == "thawed"
        assert client.execute(FREEZE) == 2
        assert client.execute(STATUS) == "frozen"
        refused = refusal(client, FREEZE)
        assert refused.kind == "CommandNotFound" and "frozen state" in refused.text
        assert [client.execute(THAW), client.execute(THAW)] == [2, 0]
    assert agent.commands().count(THAW) == 2


def test_a_frozen_agent_stays_so_when_its_client_goes(agent):
    with qmp.Agent(agent.path) as client:
        client.execute(FREEZE)
    with qmp.Agent(agent.path) as client:
        assert client.execute(STATUS) == "frozen"
    assert agent.clients == 2


def test_descriptors_that_are_passed_are_counted(monitor):
    monitor.answers["getfd"] = {}
    client = qmp.Monitor(monitor.path)
    with open("/dev/null", "rb") as file:
        socket.send_fds(client.lines.socket, [b'{"execute": "getfd", "id": 9}'], [file.fileno()])
    monitor.wait_for("getfd")
    assert [request["fds"] for request in monitor.received] == [0, 1]
    client.close()


# ---- the script ----

@pytest.mark.parametrize("greeting", [silence(), after(4 * SHORT, normally()), half(normally())],
                         ids=["silent", "slow", "half"])
def test_a_greeting_that_does_not_come_in_time(tmp_path, greeting):
    with FakeQmp(tmp_path / "qmp", greeting=greeting) as fake:
        with pytest.raises(TimeoutError):
            qmp.Monitor(fake.path, timeout=SHORT)


def test_half_a_reply_and_then_the_end(monitor):
    monitor.on("stop", steps(half(normally()), hang_up()))
    client = qmp.Monitor(monitor.path)
    with pytest.raises(EOFError):
        client.execute("stop")
    assert monitor.status == "paused"
    client.close()


def test_a_connection_ends_after_so_many_commands(monitor):
    client = qmp.Monitor(monitor.path)
    monitor.hang_up_after(2)
    client.execute("stop")
    client.execute("query-status")
    with pytest.raises((EOFError, ConnectionError)):
        client.execute("cont")
    assert monitor.status == "paused" and "cont" not in monitor.commands()
    client.close()


def test_a_monitor_that_lies(monitor):
    """STOP without a RESUME, and a status that is not so."""
    monitor.on("cont", answer({})).on("query-status", answer(status("running")))
    client = qmp.Monitor(monitor.path)
    client.execute("stop")
    client.execute("cont")
    assert client.execute("query-status")["running"] and monitor.status == "paused"
    assert [entry["event"] for entry in client.events] == ["STOP"]
    client.close()


@pytest.mark.parametrize("word", ["io-error", "inmigrate", "postmigrate", "shutdown"])
def test_a_monitor_has_any_status(monitor, word):
    monitor.status = word
    client = qmp.Monitor(monitor.path)
    client.execute("stop")
    assert client.execute("query-status") == status(word) and client.events == []
    client.close()


def test_a_freeze_that_hangs_and_then_happens(agent):
    told = threading.Event()
    agent.on(FREEZE, when(told, normally()))
    with qmp.Agent(agent.path) as client:
        with pytest.raises(TimeoutError):
            client.execute(FREEZE, SHORT)
        with pytest.raises(TimeoutError):
            client.sync(SHORT)
        assert not agent.frozen
        told.set()
        client.sync()
        assert client.execute(STATUS) == "frozen"


def test_a_freeze_that_is_refused_and_happens_all_the_same(agent):
    agent.on(FREEZE, steps(error("GenericError", "timed out"), later(SHORT, become(frozen=True))))
    with qmp.Agent(agent.path) as client:
        refusal(client, FREEZE)
        while client.execute(STATUS) != "frozen":
            time.sleep(0.01)


def test_a_freeze_that_happens_and_is_never_answered(agent):
    agent.on(FREEZE, quietly(normally()))
    with qmp.Agent(agent.path) as client:
        with pytest.raises(TimeoutError):
            client.execute(FREEZE, SHORT)
        assert agent.frozen


def test_a_thaw_that_fails_at_first(agent):
    agent.on(THAW, error("GenericError", "no"), error("GenericError", "no"), normally())
    with qmp.Agent(agent.path) as client:
        client.execute(FREEZE)
        for _ in range(2):
            assert refusal(client, THAW).text == "no"
            assert client.execute(STATUS) == "frozen"
        assert client.execute(THAW) == 2


def test_an_agent_without_the_command(agent):
    agent.on(FREEZE, not_found())
    with qmp.Agent(agent.path) as client:
        assert refusal(client, FREEZE).kind == "CommandNotFound"


def test_replies_to_somebody_else_are_found_and_skipped(agent):
    agent.leave_behind(b'{"return": "thawed"}\n\xff{"return": 7}\n{"retu')
    with qmp.Agent(agent.path) as client:
        assert client.execute("guest-ping") == {}


def test_the_end_does_not_wait_for_what_hangs(tmp_path):
    with FakeAgent(tmp_path / "agent") as fake:
        fake.on(STATUS, when(threading.Event()))
        with qmp.Agent(fake.path) as client, pytest.raises(TimeoutError):
            client.execute(STATUS, SHORT)
