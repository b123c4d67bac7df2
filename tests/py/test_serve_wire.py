# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes over the wire under --tls=require, byte by byte; and certificates
that must not open anything."""

import contextlib
import datetime
import socket
import ssl
import subprocess
import threading

import nbd as libnbd
import pytest

from snaplib import nbd, nbd_wire as wire, pki, tools
from snaplib.disk import Disk
from snaplib.nbd_client import Client, Refused
from snaplib.serve import Serving

MIB = 1 << 20
PATTERN = 0xA7
ACK_TLS = b"\x00\x03\xe8\x89\x04\x55\x65\xa9" + bytes(
    [0, 0, 0, wire.OPT_STARTTLS, 0, 0, 0, wire.REP_ACK, 0, 0, 0, 0])
CONTEXT = "qemu:dirty-bitmap:secretbase"

# Of a TLS record: handshake, alert, change of cipher, data.
RECORDS = {20, 21, 22, 23}


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("qemu-img", "qemu-io", "nbdinfo", "certtool", "psktool")
    disk = Disk(tmp_path_factory.mktemp("secretfolder") / "vm.qcow2", 2 * MIB)
    disk.write(0, 2 * MIB, PATTERN)
    disk.snapshot("secretbase")
    disk.write(4096, 4096, PATTERN)
    disk.snapshot("secretname")
    return disk


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return pki.make_certificates(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture(scope="module")
def psk_file(tmp_path_factory, disk):
    path = tmp_path_factory.mktemp("psk") / "keys"
    tools.run(["psktool", "-u", "alice", "-p", path])
    return path


@pytest.fixture(scope="module")
def server(disk, certificates, psk_file):
    with Serving(f"--tls-certificates={certificates}", f"--tls-psk={psk_file}",
                 "--tls=require", disk.path) as server:
        yield server


class Recorder:
    """Between one client and the server; keeps what each of them said."""

    def __init__(self, server, folder):
        self.path, self.target = folder / "recorder", str(server.socket)
        self.said = {"client": b"", "server": b""}
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.path))
        self.listening.listen()
        self.thread = threading.Thread(target=self.relay)
        self.thread.start()

    def copy(self, who, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.said[who] += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def relay(self):
        client, _ = self.listening.accept()
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.target)
            back = threading.Thread(target=self.copy, args=("server", server, client))
            back.start()
            self.copy("client", client, server)
            back.join()

    def end(self):
        self.thread.join(nbd.DEADLINE)
        self.listening.close()
        assert not self.thread.is_alive()


def handle_at(path, certificates=None, psk=None):
    handle = libnbd.NBD()
    handle.set_tls(libnbd.TLS_REQUIRE)
    if certificates:
        handle.set_tls_certificates(str(certificates))
        handle.set_tls_verify_peer(False)
    if psk:
        handle.set_tls_psk_file(str(psk))
        handle.set_tls_username("alice")
    handle.set_export_name("secretname")
    handle.add_meta_context(CONTEXT)
    handle.connect_unix(str(path))
    return handle


def check_nothing_secret(data):
    for secret in (bytes([PATTERN]) * 16, b"secret", b"dirty-bitmap", b"base:allocation"):
        assert secret not in data, secret


def records_of(data):
    """Nothing but TLS records, from the first byte to the last."""
    kinds, at = set(), 0
    while at < len(data):
        assert data[at] in RECORDS and data[at + 1] == 3, data[at:at + 5]
        kinds.add(data[at])
        at += 5 + int.from_bytes(data[at + 3:at + 5], "big")
    assert at == len(data)
    return kinds


@pytest.mark.parametrize("kind", ["certificates", "psk"])
def test_nothing_but_the_way_to_tls_is_in_the_clear(
        server, disk, tmp_path, kind, certificates, psk_file):
    recorder = Recorder(server, tmp_path)
    handle = handle_at(recorder.path, certificates if kind == "certificates" else None,
                       psk_file if kind == "psk" else None)
    assert handle.pread(2 * MIB, 0) == disk.truth["secretname"]
    assert nbd.block_status(handle, 2 * MIB, 0)
    handle.shutdown()
    recorder.end()
    said, greeting = recorder.said["server"], 18
    assert said[:8] == b"NBDMAGIC" and said[greeting:greeting + len(ACK_TLS)] == ACK_TLS
    assert 23 in records_of(said[greeting + len(ACK_TLS):])
    assert len(said) > 2 * MIB
    check_nothing_secret(said)
    check_nothing_secret(recorder.said["client"])


def test_whatever_a_client_tries_in_the_clear_it_is_told_nothing(server, tmp_path):
    recorder = Recorder(server, tmp_path)
    with Client.unix(recorder.path) as client:
        client.greet()
        tries = [(code, b"") for code in (wire.OPT_LIST, wire.OPT_STRUCTURED_REPLY,
                                          wire.OPT_EXTENDED_HEADERS, wire.OPT_PEEK, 99)]
        for name in ("", "secretname", "secretbase..secretname", "other"):
            tries += [(code, wire.info_data(name, [1, 2, 3]))
                      for code in (wire.OPT_INFO, wire.OPT_GO)]
            tries += [(code, wire.queries_data(name, []))
                      for code in (wire.OPT_LIST_META, wire.OPT_SET_META)]
        for code, data in tries:
            with pytest.raises(Refused) as caught:
                client.option(code, data)
            assert caught.value.code == wire.ERR_TLS_REQD
        client.send(wire.option(wire.OPT_EXPORT_NAME, b"secretname")
                    + wire.request(wire.SIMPLE, wire.READ, 1, 0, 4096))
        assert client.has_ended()
    recorder.end()
    check_nothing_secret(recorder.said["server"])


def secured(client):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client.option(wire.OPT_STARTTLS)
    client.socket = context.wrap_socket(client.socket)
    return client


def test_what_was_said_in_the_clear_does_not_count_after(disk, certificates):
    """Somebody on the way could have said it."""
    with Serving(f"--tls-certificates={certificates}", "--tls=on", disk.path) as server:
        with Client.unix(server.socket) as client:
            client.greet().structured().set_contexts("secretname", CONTEXT)
            secured(client).style = wire.SIMPLE
            client.go("secretname")
            assert not client.flags & wire.FLAG_SEND_DF
            assert client.read(0, 512) == disk.truth["secretname"][:512]
            assert client.call(wire.BLOCK_STATUS, 0, 512).error == wire.EINVAL
        with Client.unix(server.socket) as client:
            secured(client.greet())
            with pytest.raises(Refused) as caught:
                client.option(wire.OPT_STARTTLS)
            assert caught.value.code == wire.ERR_INVALID
            assert client.structured().list()


@pytest.mark.parametrize("ahead", [wire.option(wire.OPT_LIST), b"x", bytes(5000)])
def test_what_is_said_ahead_of_tls_is_not_heard(server, ahead):
    with Client.unix(server.socket) as client:
        client.greet().send(wire.option(wire.OPT_STARTTLS) + ahead)
        assert client.replies(wire.OPT_STARTTLS) == []
        with contextlib.suppress(ConnectionError):
            check_nothing_secret(client.socket.recv(4096))
            assert client.has_ended()


@pytest.mark.parametrize("hello", [b"", b"GET / HTTP/1.0\r\n\r\n", bytes(2000),
                                   b"\x16\x03\x01\xff\xff" + bytes(70000)])
def test_what_is_no_tls_ends_one_connection(server, disk, psk_file, hello):
    with Client.unix(server.socket) as client:
        client.greet().option(wire.OPT_STARTTLS)
        with contextlib.suppress(ConnectionError):
            client.send(hello)
            client.socket.shutdown(socket.SHUT_WR)
            while data := client.socket.recv(65536):
                check_nothing_secret(data)
    handle = handle_at(server.socket, psk=psk_file)
    assert handle.pread(512, 0) == disk.truth["secretname"][:512]
    handle.shutdown()


# ---- certificates that open nothing ----

def test_old_revoked_and_other_certificates_are_not_let_in(disk, certificates, tmp_path):
    """All of them are signed by the right authority."""
    ours = tmp_path / "ours"
    ours.mkdir()
    for path in certificates.iterdir():
        (ours / path.name).write_bytes(path.read_bytes())
    clients = {
        "valid": "tls_www_client\n",
        "revoked": "tls_www_client\nserial = 77\n",
        "expired": 'tls_www_client\nactivation_date = "2001-01-01 00:00:00 UTC"\n'
                   'expiration_date = "2002-01-01 00:00:00 UTC"\n',
        "not yet": 'tls_www_client\nactivation_date = "2090-01-01 00:00:00 UTC"\n'
                   'expiration_date = "2095-01-01 00:00:00 UTC"\n',
        "of a server": "tls_www_server\n",
    }
    for name, template in clients.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "template").write_text("")
        pki.certificate(tmp_path / name, "client", f"cn = x\nsigning_key\n{template}", ours)
        (tmp_path / name / "ca-cert.pem").write_bytes((ours / "ca-cert.pem").read_bytes())
    revoke(ours, tmp_path / "revoked" / "client-cert.pem")
    with Serving(f"--tls-certificates={ours}", "--tls-verify-peer", disk.path) as server:
        for name in clients:
            if name == "valid":
                handle = handle_at(server.socket, tmp_path / name)
                assert handle.pread(512, 0) == disk.truth["secretname"][:512]
                handle.shutdown()
            else:
                with pytest.raises(libnbd.Error):
                    handle_at(server.socket, tmp_path / name).pread(512, 0)
                    print("let in:", name)


def revoke(authority, certificate):
    tomorrow = datetime.date.today() + datetime.timedelta(days=1)
    (authority / "template").write_text(f"crl_next_update = \"{tomorrow} 00:00:00 UTC\"\n"
                                        "crl_number = 1\n")
    tools.run(["certtool", "--generate-crl", "--load-ca-certificate", authority / "ca-cert.pem",
               "--load-ca-privkey", authority / "ca-key.pem", "--load-certificate", certificate,
               "--template", authority / "template", "--outfile", authority / "ca-crl.pem"])


def test_a_list_of_revoked_certificates_that_is_none_lets_nobody_in(disk, certificates, tmp_path):
    ours = tmp_path / "ours"
    ours.mkdir()
    for path in certificates.iterdir():
        (ours / path.name).write_bytes(path.read_bytes())
    (ours / "ca-crl.pem").write_text("nonsense")
    result = subprocess.run(
        [str(tools.nbdsnap()), f"--state-dir={tmp_path / 'state'}", "serve",
         f"--socket={tmp_path / 'socket'}", f"--tls-certificates={ours}", "--tls-verify-peer",
         str(disk.path)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "ca-crl.pem" in result.stderr
