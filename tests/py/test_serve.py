# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `nbdsnap serve` serves, seen by the clients that people use: contents
are equal, contexts are exact, increments hold what changed and nothing else."""

import errno
import json
import os
import signal
import stat
import subprocess
import threading

import pytest

from snaplib import nbd, tools
from snaplib.cli import nbdsnap, refused
from snaplib.disk import CLUSTER, Disk
from snaplib.serve import Serving, not_sanitized
from snaplib.serve import refused as refused_by_server

MIB = 1 << 20
ALLOCATION = "base:allocation"


def dirty(base):
    return f"qemu:dirty-bitmap:{base}"


def clean(base):
    return f"nbdsnap:clean:{base}"


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require("nbdinfo", "nbdcopy", "qemu-img", "qemu-io")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """old; new, with changes that a copy can get wrong; grown; small."""
    disk = Disk(tmp_path_factory.mktemp("serve") / "vm.qcow2", 2 * MIB)
    for at in range(0, MIB, CLUSTER):
        disk.write(at, CLUSTER, 1 + at // CLUSTER)
    disk.snapshot("old")
    disk.write(1 * CLUSTER, CLUSTER, 21)             # a whole cluster
    disk.write(3 * CLUSTER + 8192, 4096, 22)         # a part of one
    disk.write(5 * CLUSTER, CLUSTER, 0)              # rewritten to zeroes, as data
    disk.zero(6 * CLUSTER, CLUSTER)                  # a zero cluster
    disk.discard(9 * CLUSTER, CLUSTER)               # gone
    disk.write(11 * CLUSTER - 4096, 8192, 23)        # across a border
    disk.write(len(disk.model) - 512, 512, 24)       # the last sector
    disk.snapshot("new")
    disk.resize(3 * MIB + 4096)
    disk.write(3 * MIB, 4096, 32)
    disk.snapshot("grown")
    disk.resize(MIB + MIB // 2 + 512)
    disk.write(0, 512, 41)
    disk.snapshot("small")
    return disk


NAMES = ["old", "new", "grown", "small"]
PAIRS = [(a, b) for i, b in enumerate(NAMES) for a in NAMES[:i]]


@pytest.fixture(scope="module")
def server(disk):
    with Serving(disk.path) as server:
        yield server


def mapped(uri, context):
    entries = json.loads(nbd.client("nbdinfo", f"--map={context}", "--json", uri))
    assert entries[0]["offset"] == 0
    for a, b in zip(entries, entries[1:]):
        assert a["offset"] + a["length"] == b["offset"] and a["type"] != b["type"]
    return [(e["offset"], e["length"], e["type"]) for e in entries]


def changed(disk, base, name):
    """[(offset, length, dirty)] of the clusters, merged, as it should be."""
    size, units = len(disk.truth[name]), set(disk.changed(base, name))
    found = []
    for at in range(0, size, CLUSTER):
        length, flag = min(CLUSTER, size - at), int(at in units)
        if found and found[-1][2] == flag:
            found[-1][1] += length
        else:
            found.append([at, length, flag])
    return [tuple(one) for one in found]


# ---- names ----

def test_a_list_has_every_snapshot_and_range_and_what_it_can_be_compared_with(server):
    listed = json.loads(nbd.client("nbdinfo", "--list", "--json", server.uri()))
    contexts = {e["export-name"]: e["contexts"] for e in listed["exports"]}
    assert set(contexts) == {*NAMES, *(f"{a}..{b}" for a, b in PAIRS)}
    assert contexts["old"] == [ALLOCATION]
    assert contexts["grown"] == [ALLOCATION, dirty("new"), dirty("old"),
                                 clean("new"), clean("old")]
    assert contexts["old..grown"] == [ALLOCATION, dirty("old"), clean("old")]


def test_the_default_is_the_newest_snapshot(server, disk):
    info = json.loads(nbd.client("nbdinfo", "--json", server.uri()))["exports"][0]
    assert info["export-size"] == len(disk.truth["small"])
    assert info["is_read_only"] and info["can_multi_conn"] and info["can_df"]


def test_nothing_but_what_was_named_can_be_opened(disk):
    with Serving(f"{disk.path}@new", f"{disk.path}@old..grown") as server:
        for name in ("old", "grown", "small", "old..new", "new..grown", "live",
                     "../vm.qcow2", str(disk.path), "backing"):
            with pytest.raises(nbd.libnbd.Error):
                server.connect(name)
        for name in ("", "new", "old..grown"):
            server.connect(name).shutdown()


def test_printed_addresses_work_and_labels_are_in_them(disk, tmp_path):
    copy = tmp_path / "copy.qcow2"
    copy.write_bytes(disk.path.read_bytes())
    with Serving(f"a={disk.path}@new", f"{copy}@old..new", "--port=0") as server:
        lines = [server.first, *(server.process.stdout.readline().strip()
                                 for _ in range(3))]
        assert len(set(lines)) == 4
        for line in lines:
            assert "a%40new" in line or "copy.qcow2%40old..new" in line
            assert nbd.full_copy(line, tmp_path) == disk.truth["new"]


def test_json_names_every_address(disk):
    with Serving("--json", f"{disk.path}@new") as server:
        told = json.loads(server.first)
        assert told["schema"] == "nbdsnap/serve/1"
        [export] = told["exports"]
        assert export["name"] == "new" and "vm.qcow2@new" in export["description"]
        assert export["uris"] == [server.uri("new")]


# ---- contents ----

@pytest.mark.parametrize("name", NAMES + ["old..new"])
def test_a_copy_over_many_connections_is_equal(server, disk, tmp_path, name):
    for options in (["--connections=4"], ["--synchronous"], ["--no-extents"],
                    ["--request-size=65536", "--connections=8", "--requests=32"]):
        target = tmp_path / "copy.raw"
        nbd.client("nbdcopy", *options, server.uri(name), target)
        assert target.read_bytes() == disk.truth[name.rpartition("..")[2]], options


def test_qemu_img_sees_and_copies_the_same(server, disk, tmp_path):
    for name in NAMES:
        tools.run(["qemu-img", "convert", "-f", "raw", "-O", "raw",
                   server.uri(name), tmp_path / "copy.raw"])
        assert (tmp_path / "copy.raw").read_bytes() == disk.truth[name]


def test_reads_of_any_shape_are_equal(server, disk):
    truth = disk.truth["new"]
    for structured in (True, False):
        handle = nbd.libnbd.NBD()
        handle.set_request_structured_replies(structured)
        handle.set_export_name("new")
        handle.connect_unix(str(server.socket))
        for at, length in ((0, 1), (511, 3), (CLUSTER - 1, CLUSTER + 2),
                           (5 * CLUSTER - 7, 3 * CLUSTER), (0, len(truth)),
                           (len(truth) - 1, 1), (9 * CLUSTER, CLUSTER)):
            assert handle.pread(length, at) == truth[at:at + length]
            if structured:
                chunks = []
                data = handle.pread_structured(
                    length, at, lambda *chunk: chunks.append(chunk),
                    nbd.libnbd.CMD_FLAG_DF)
                assert data == truth[at:at + length] and len(chunks) == 1
        handle.shutdown()


def test_a_size_that_is_odd_is_padded_with_zeroes(tmp_path):
    """Snapshots of files have their own size; those of images are whole."""
    disk = Disk(tmp_path / "vm.qcow2", MIB + 512)
    disk.write(MIB, 512, 7)
    disk.snapshot("a")
    with Serving(f"{disk.path}@a") as server:
        assert nbd.full_copy(server.uri(), tmp_path) == disk.truth["a"]


# ---- contexts ----

@pytest.mark.parametrize("base, name", PAIRS)
def test_the_dirty_context_is_exact_and_the_clean_one_its_opposite(
        server, disk, base, name):
    for export in (name, f"{base}..{name}"):
        wanted = changed(disk, base, name)
        assert mapped(server.uri(export), dirty(base)) == wanted
        assert mapped(server.uri(export), clean(base)) \
            == [(at, length, 1 - flag) for at, length, flag in wanted]


@pytest.mark.parametrize("name", NAMES)
def test_what_allocation_calls_zero_is_zero(server, disk, name):
    entries = mapped(server.uri(name), ALLOCATION)
    assert sum(e[1] for e in entries) == len(disk.truth[name])
    assert {flags for _, _, flags in entries} == {0, 3}
    for at, length, flags in entries:
        assert not flags or not any(disk.truth[name][at:at + length])


def test_a_range_has_one_bitmap_and_no_other(server):
    for query in (dirty("old"), dirty("small"), dirty("nothing"), dirty("")):
        result = nbd.client("nbdinfo", f"--map={query}", server.uri("new..grown"),
                            check=False)
        assert result.returncode == 1 and "does not support" in result.stderr


def test_several_contexts_of_a_reply_cover_the_same(server, disk):
    contexts = [ALLOCATION, dirty("old"), clean("new"), dirty("new")]
    handle = server.connect("grown", contexts)
    size = len(disk.truth["grown"])
    for flag in (0, nbd.libnbd.CMD_FLAG_REQ_ONE):
        at = 0
        while at < size:
            found = {}
            handle.block_status(
                size - at, at, lambda context, _at, entries, _error:
                found.setdefault(context, list(entries)) and 0, flag)
            assert set(found) == set(contexts)
            [covered] = {sum(entries[::2]) for entries in found.values()}
            if flag:
                assert {len(entries) for entries in found.values()} == {2}
            assert covered > 0
            at += covered
        assert at == size
    handle.shutdown()


def test_a_hole_that_is_dirty_is_not_called_a_hole(server):
    """A program that adds up both contexts would leave it out."""
    handle = server.connect("new", [ALLOCATION, dirty("old")])
    found = {}
    handle.block_status(CLUSTER, 9 * CLUSTER, lambda context, _at, entries, _error:
                        found.setdefault(context, list(entries)) and 0)
    assert found == {ALLOCATION: [CLUSTER, 2], dirty("old"): [CLUSTER, 1]}
    handle.shutdown()


@pytest.mark.parametrize("base, name", PAIRS)
def test_an_increment_by_qemu_is_equal_and_holds_only_what_changed(
        server, disk, tmp_path, base, name):
    previous, top = tmp_path / "previous.raw", tmp_path / "top.qcow2"
    previous.write_bytes(disk.truth[base])
    tools.run(["qemu-img", "convert", "-O", "qcow2", "-B", previous, "-F", "raw",
               "--image-opts", f"driver=nbd,server.type=unix,server.path={server.socket},"
               f"export={name},x-dirty-bitmap={clean(base)}", top])
    tools.run(["qemu-img", "convert", "-O", "raw", top, tmp_path / "back.raw"])
    assert (tmp_path / "back.raw").read_bytes() == disk.truth[name]
    entries = json.loads(tools.run(["qemu-img", "map", "--output=json", top]))
    held = {at for e in entries if e["depth"] == 0 and e["present"]
            for at in range(e["start"], e["start"] + e["length"], CLUSTER)}
    assert held <= set(disk.changed(base, name))


def test_whoever_never_asks_pays_nothing_and_whoever_asks_again_pays_once(disk, tmp_path):
    """Comparing goes through all of the metadata; reading does not."""
    tools.require("strace")
    not_sanitized()
    trace = tmp_path / "trace"
    with Serving(f"{disk.path}@new", prefix=["strace", "-f", "-e", "trace=pread64",
                                             "-o", trace]) as server:
        def reads(action):
            before = trace.read_text().count("pread64(")
            action()
            return trace.read_text().count("pread64(") - before

        def look(context):
            return mapped(server.uri("new"), context)

        look(ALLOCATION)
        alone = reads(lambda: look(ALLOCATION))
        first = reads(lambda: look(dirty("old")))
        again = reads(lambda: look(clean("old")))
        os.kill(server.program(), signal.SIGTERM)
        assert server.process.wait(nbd.DEADLINE) == 0
        server.process.stdout.close()
    assert first > again >= 0 and first > alone, (alone, first, again)


# ---- refusals ----

def test_writes_are_refused_and_the_connection_goes_on(server, disk):
    handle = server.connect("new")
    for attempt in (lambda: handle.pwrite(bytes(512), 0), lambda: handle.trim(512, 0),
                    lambda: handle.zero(512, 0),
                    lambda: handle.pwrite(bytes(MIB), len(disk.truth["new"]))):
        with pytest.raises(nbd.libnbd.Error) as caught:
            attempt()
        assert caught.value.errnum == errno.EPERM
    assert handle.pread(512, CLUSTER) == disk.truth["new"][CLUSTER:CLUSTER + 512]
    handle.shutdown()


def test_requests_past_the_end_are_refused_and_the_connection_goes_on(server, disk):
    size = len(disk.truth["new"])
    handle = server.connect("new", [ALLOCATION])
    for attempt in (lambda: handle.pread(512, size), lambda: handle.pread(1024, size - 512),
                    lambda: handle.cache(size, 512),
                    lambda: handle.block_status(512, size, lambda *_: 0),
                    lambda: handle.pread(1, (1 << 64) - 1)):
        with pytest.raises(nbd.libnbd.Error) as caught:
            attempt()
        assert caught.value.errnum == errno.EINVAL
    handle.cache(size, 0)
    assert handle.pread(512, CLUSTER) == disk.truth["new"][CLUSTER:CLUSTER + 512]
    handle.shutdown()


def test_what_cannot_be_served_is_refused_before_anything_listens(disk, tmp_path):
    for words, code in (([f"{disk.path}@gone"], 1), ([tmp_path / "gone.qcow2@a"], 1),
                        ([f"{disk.path}@empty"], 2)):
        socket = tmp_path / "socket"
        result = nbdsnap("serve", f"--socket={socket}", *words, state=tmp_path / "state")
        refused(result, code)
        assert not socket.exists()


# ---- sockets ----

def test_a_socket_is_for_its_owner_and_goes_with_the_server(disk):
    with Serving(f"{disk.path}@new") as server:
        mode = server.socket.stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
        socket = server.socket
    assert not socket.exists()


def test_an_abandoned_socket_is_replaced_and_one_in_use_is_not(disk, tmp_path):
    socket = tmp_path / "socket"
    first = Serving(f"--socket={socket}", f"{disk.path}@new", socket=False)
    said = refused_by_server(f"--socket={socket}", f"{disk.path}@new", socket=False)
    assert "is there already" in said
    nbd.client("nbdinfo", nbd.uri(socket))
    first.process.kill()
    first.process.wait()
    first.process.stdout.close()
    assert socket.exists()
    with Serving(f"--socket={socket}", f"{disk.path}@new", socket=False):
        nbd.client("nbdinfo", nbd.uri(socket))
    assert not socket.exists()


def test_a_file_in_the_place_of_the_socket_is_left_alone(disk, tmp_path):
    path = tmp_path / "precious"
    path.write_text("mine")
    said = refused_by_server(f"--socket={path}", f"{disk.path}@new", socket=False)
    assert "is there already" in said and path.read_text() == "mine"


def test_tcp_of_both_families_serves_the_same(disk, tmp_path):
    with Serving("--listen=tcp:127.0.0.1:0", f"{disk.path}@new", socket=False) as server:
        assert server.first.startswith("nbd://127.0.0.1:")
        assert nbd.full_copy(server.first, tmp_path) == disk.truth["new"]
    try:
        with Serving("--listen=tcp:[::1]:0", f"{disk.path}@new", socket=False) as server:
            assert server.first.startswith("nbd://[::1]:")
            assert nbd.full_copy(server.first, tmp_path) == disk.truth["new"]
    except RuntimeError as error:
        assert "not an address of this machine" in str(error)


# ---- many at once ----

def test_many_clients_at_once_get_the_same_and_leave_nothing(server, disk):
    nbd.client("nbdinfo", server.uri())
    wrong = []

    def look(number):
        name, base = ("new", "old") if number % 2 else ("grown", "new")
        try:
            handle = server.connect(name, [dirty(base)])
            assert handle.pread(len(disk.truth[name]), 0) == disk.truth[name]
            found = nbd.block_status(handle, len(disk.truth[name]), 0)
            assert found == changed(disk, base, name)
            handle.shutdown()
        except Exception as error:  # pylint: disable=broad-except
            wrong.append(error)

    threads = [threading.Thread(target=look, args=(n,)) for n in range(24)]
    before = server.descriptors()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    # A connection is seen off after its client has gone.
    for _ in range(3000):
        if server.threads() <= 3 and server.descriptors() <= before:
            break
        subprocess.run(["sleep", "0.01"], check=True)
    assert server.threads() <= 3 and server.descriptors() <= before
