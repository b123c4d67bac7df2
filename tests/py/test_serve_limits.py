# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one client of `nbdsnap serve` can have, and take, at most.

Each limit is in nbdsnap-serve(1).  Those of single options and requests are
tried in test_serve_conformance.py and test_serve_requests.py, those of time and
of connections in test_serve_process.py."""

import contextlib
import pathlib
import re
import sys

import pytest

from snaplib import nbd_wire as wire, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.nbd_client import Client, Refused
from snaplib.serve import Serving, not_sanitized

MIB = 1 << 20
N_BASES = 40
MAX_CONTEXTS, MAX_EXTENTS = 64, (1 << 20) - 1
MAX_LISTED = 4096

# Far more than a client may have in flight, here and in its socket.
ENDLESS = 200000

# What the numbers in the manual have to be.
LIMITS = {"options": 1024, "bytes of an option": "64 KiB", "skipped": "16 MiB",
          "name": "4096 bytes", "queries": 256, "contexts": MAX_CONTEXTS, "at a time": 4,
          "wait": 16, "turn": 128, "payload": "32 MiB", "extents": MAX_EXTENTS, "exports": MAX_LISTED,
          "prefetched": "64 MiB"}


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("qemu-img", "qemu-io")


@pytest.fixture(scope="module")
def make_qcow2():
    sys.path.insert(0, str(tools.TOP / "tests" / "bench"))
    import make_qcow2 as module
    return module


@pytest.fixture(scope="module")
def many(tmp_path_factory, make_qcow2):
    """An image with many snapshots, each with another cluster of its own."""
    path = tmp_path_factory.mktemp("many") / "vm.qcow2"
    make_qcow2.write(path, N_BASES * CLUSTER, [{n: n} for n in range(N_BASES)],
                     [f"s{n:02}" for n in range(N_BASES)],
                     lambda number: bytes([number + 1]) * CLUSTER)
    with Serving(path) as server:
        yield server


def connect(server, style="structured"):
    client = Client.unix(server.socket).greet()
    getattr(client, style)()
    return client


def resident(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    disk = Disk(tmp_path_factory.mktemp("one") / "vm.qcow2", MIB)
    disk.snapshot("old")
    disk.snapshot("new")
    with Serving(f"{disk.path}@new") as server:
        yield server


# ---- contexts ----

def test_so_many_contexts_can_be_had_and_no_more(many):
    newest = f"s{N_BASES - 1:02}"
    with connect(many, "extended") as client:
        offered = client.list_contexts(newest)
        assert len(offered) == 1 + 2 * (N_BASES - 1) > MAX_CONTEXTS
        with pytest.raises(Refused) as caught:
            client.set_contexts(newest, *offered[:MAX_CONTEXTS + 1])
        assert caught.value.code == wire.ERR_TOO_BIG
        client.set_contexts(newest, *offered[:MAX_CONTEXTS]).go(newest)
        reply = client.call(wire.BLOCK_STATUS, 0, client.size)
        reply.check_coverage()
        assert len(reply.extents) == MAX_CONTEXTS
        last = [client.id_of(offered[MAX_CONTEXTS - 1]), client.id_of(offered[0])]
        found = client.status(0, client.size, ids=last)
        assert found == {client.contexts[n]: reply.extents[client.contexts[n]] for n in last}


def test_a_refused_choice_of_contexts_leaves_none(many):
    newest = f"s{N_BASES - 1:02}"
    with connect(many) as client:
        offered = client.list_contexts(newest)
        with pytest.raises(Refused):
            client.set_contexts(newest, *offered)
        client.contexts = {}
        assert client.go(newest).call(wire.BLOCK_STATUS, 0, 512).error == wire.EINVAL


# ---- names ----

def test_a_list_ends_and_what_it_leaves_out_can_be_had(tmp_path, make_qcow2):
    n = 95                                          # with all ranges more than fit
    path = tmp_path / "vm.qcow2"
    make_qcow2.write(path, CLUSTER, [{}] * n, [f"s{i:03}" for i in range(n)])
    with Serving(path) as server, connect(server) as client:
        listed = client.list()
        assert len(listed) == MAX_LISTED < n * (n + 1) / 2
        assert "s000..s001" not in listed
        client.go("s000..s001")


@pytest.mark.parametrize("name", [
    "vm.qcow2", "vm.qcow2@new", "qcow2:vm.qcow2@new", "/etc/passwd", "..", "../..", "new/../old",
    "file:///etc/passwd", "backing", "empty", "empty..new", "backing..new", "live..new", "newest",
    "old..new", "new..new", "new@new", "new..", "..new", "%6Eew", "new%00", "new\n", " new",
    "json:{}", "x" * 4096])
def test_one_snapshot_that_is_served_is_the_only_thing_there_is(one, name):
    with connect(one) as client:
        for option, data in ((wire.OPT_INFO, wire.info_data(name)),
                             (wire.OPT_GO, wire.info_data(name)),
                             (wire.OPT_LIST_META, wire.queries_data(name, [])),
                             (wire.OPT_SET_META, wire.queries_data(name, ["base:allocation"]))):
            with pytest.raises(Refused) as caught:
                client.option(option, data)
            assert (caught.value.code, caught.value.text) == (wire.ERR_UNKNOWN, "no such export")
        client.send(wire.option(wire.OPT_EXPORT_NAME, name.encode()))
        assert client.has_ended()


@pytest.mark.parametrize("base", ["/etc/passwd", "../old", "vm.qcow2@old", "new", "x" * 4000, "%",
                                  "%zz", "live", "new..old", "old..new", "old\n", ""])
def test_a_context_is_of_a_snapshot_that_is_there_or_of_nothing(one, base):
    with connect(one) as client:
        client.set_contexts("new", f"qemu:dirty-bitmap:{base}", f"nbdsnap:clean:{base}")
        assert client.contexts == {}


# ---- requests in flight ----

@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Compressed: no request is served from a file, all go to the workers."""
    folder = tmp_path_factory.mktemp("packed")
    disk = Disk(folder / "vm.qcow2", 16 * MIB)
    disk.write(0, 16 * MIB, 1)
    disk.flush()
    tools.run(["qemu-img", "convert", "-c", "-O", "qcow2", disk.path, folder / "packed.qcow2"])
    tools.run(["qemu-img", "snapshot", "-c", "a", folder / "packed.qcow2"])
    with Serving(folder / "packed.qcow2") as server:
        yield server


@pytest.mark.parametrize("which", ["many", "packed"])
@pytest.mark.parametrize("kind, flags", [(wire.READ, 0), (wire.READ, wire.DF),
                                         (wire.BLOCK_STATUS, 0), (wire.CACHE, 0)])
def test_a_client_that_only_asks_is_not_listened_to_forever(request, which, kind, flags):
    not_sanitized()
    server = request.getfixturevalue(which)
    with connect(server) as client:
        client.set_contexts("", "base:allocation").go("")
        length = min(client.size, 2 * MIB)
        one = wire.request(client.style, kind, 1, 0, length, flags)
        # What the first ones need, several connections have for ever.
        for _ in range(2):
            client.call(kind, 0, length, flags)
        before, sent = resident(server), 0
        client.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while sent < ENDLESS * len(one):
                sent += client.socket.send(one * 100)
        assert sent < ENDLESS * len(one)
        assert resident(server) - before < 6 * MIB


def test_endless_data_of_an_option_or_a_write_is_not_kept(many):
    not_sanitized()
    before = resident(many)
    clients = []
    for _ in range(16):
        clients.append(connect(many))
        clients[-1].send(wire.option(77, bytes(15 * MIB)))
        clients.append(connect(many).go("s00"))
        clients[-1].send(wire.request(wire.STRUCTURED, wire.WRITE, 1, 0, 32 * MIB)
                         + bytes(32 * MIB - 1))
    assert resident(many) - before < 16 * MIB
    for client in clients:
        client.socket.close()


# ---- the manual ----

def test_the_manual_names_every_limit():
    text = (tools.TOP / "docs" / "nbdsnap-serve.pod").read_text()
    section = re.search(r"=head1 LIMITS\n(.*?)=head1", text, re.S)[1]
    for what, limit in LIMITS.items():
        assert re.search(rf"\b{limit}\b", section), (what, limit)
