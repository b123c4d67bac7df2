# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS with clients that have GnuTLS: certificates and keys, both versions, and
nobody who has neither."""

import json
import os
import pathlib
import re
import stat
import subprocess

import nbd as libnbd
import pytest

from snaplib import nbd, pki, serve, tools
from snaplib.disk import Disk

MIB = 1 << 20


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "certtool", "psktool")
    disk = Disk(tmp_path_factory.mktemp("tls") / "vm.qcow2", 2 * MIB)
    disk.write(0, MIB, 1)
    disk.snapshot("old")
    disk.write(4096, 65536, 2)
    disk.snapshot("new")
    return disk


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with all that a server and its clients need."""
    return pki.make_certificates(tmp_path_factory.mktemp("pki") / "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, certificates):
    """A client of another authority, that knows ours."""
    folder = pki.make_authority(tmp_path_factory.mktemp("pki") / "theirs")
    pki.certificate(folder, "client", "cn = a client\ntls_www_client\nsigning_key\n", folder)
    (folder / "ca-cert.pem").write_bytes((certificates / "ca-cert.pem").read_bytes())
    return folder


def tcp(disk, *options):
    return serve.Serving("--listen=tcp:localhost:0", *options, disk.path, socket=False)


def port_of(server):
    """Of the address that it printed first."""
    return re.search(r"localhost:(\d+)", server.first)[1]


def handle_for(server, certificates=None, psk=None, verify=True):
    """Connect with libnbd to the first TCP address."""
    handle = libnbd.NBD()
    handle.set_tls(libnbd.TLS_REQUIRE)
    if certificates:
        handle.set_tls_certificates(str(certificates))
        handle.set_tls_verify_peer(verify)
    if psk:
        handle.set_tls_psk_file(str(psk[1]))
        handle.set_tls_username(psk[0])
    handle.set_export_name("new")
    handle.add_meta_context("qemu:dirty-bitmap:old")
    handle.connect_tcp("localhost", port_of(server))
    return handle


@pytest.fixture(scope="module")
def psk_file(tmp_path_factory, disk):
    path = tmp_path_factory.mktemp("psk") / "keys"
    for name in ("alice", "bob"):
        tools.run(["psktool", "-u", name, "-p", path])
    return path


# ---- who comes in ----

def test_certificates_carry_a_copy_and_its_dirty_map(disk, certificates):
    with tcp(disk, f"--tls-certificates={certificates}") as server:
        handle = handle_for(server, certificates)
        assert handle.get_tls_negotiated()
        assert handle.pread(handle.get_size(), 0) == disk.truth["new"]
        assert nbd.block_status(handle, 2 * MIB, 0)
        handle.shutdown()


def test_a_server_of_another_authority_is_not_believed(disk, certificates, tmp_path):
    other = pki.make_authority(tmp_path / "other")
    with tcp(disk, f"--tls-certificates={certificates}") as server:
        with pytest.raises(libnbd.Error):
            handle_for(server, other)


def test_a_client_has_to_show_a_certificate_of_the_authority(disk, certificates, stranger):
    nobody = stranger.parent / "nobody"
    nobody.mkdir(exist_ok=True)
    (nobody / "ca-cert.pem").write_bytes((certificates / "ca-cert.pem").read_bytes())
    with tcp(disk, f"--tls-certificates={certificates}", "--tls-verify-peer") as server:
        handle = handle_for(server, certificates)
        assert len(handle.pread(512, 0)) == 512
        for folder in (stranger, nobody):
            with pytest.raises(libnbd.Error):
                handle_for(server, folder).pread(512, 0)
        assert len(handle.pread(512, 0)) == 512
        handle.shutdown()


def test_each_client_has_a_key_of_its_own_and_no_other_opens(disk, psk_file, tmp_path):
    wrong = tmp_path / "wrong"
    tools.run(["psktool", "-u", "alice", "-p", wrong])
    with tcp(disk, f"--tls-psk={psk_file}") as server:
        for name in ("alice", "bob"):
            handle = handle_for(server, psk=(name, psk_file))
            assert handle.pread(handle.get_size(), 0) == disk.truth["new"]
            handle.shutdown()
        for name, path in (("alice", wrong), ("mallory", wrong)):
            with pytest.raises(libnbd.Error):
                handle_for(server, psk=(name, path))


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_both_versions_work_with_a_key_and_with_certificates(
        disk, certificates, psk_file, version, tmp_path):
    """libnbd has no switch for the version; the system-wide one of GnuTLS is
    read anew by each process."""
    others = {"1.2": ["1.3"], "1.3": ["1.0", "1.1", "1.2"]}[version]
    config = tmp_path / "gnutls"
    config.write_text("[overrides]\n" + "".join(
        f"disabled-version = tls{other}\n" for other in others))
    env = {**os.environ, "GNUTLS_SYSTEM_PRIORITY_FILE": str(config)}
    with tcp(disk, f"--tls-certificates={certificates}", f"--tls-psk={psk_file}") as server:
        port = port_of(server)
        for uri in (f"nbds://localhost:{port}/new?tls-certificates={certificates}",
                    f"nbds://alice@localhost:{port}/new?tls-psk-file={psk_file}"):
            copy = tmp_path / "copy"
            result = nbd.client("nbdcopy", "--connections=2", uri, copy, env=env, check=False)
            assert result.returncode == 0, (result.stderr, server.messages())
            assert copy.read_bytes() == disk.truth["new"]


def test_qemu_img_comes_in_with_certificates_and_with_a_key(disk, certificates, psk_file,
                                                            tmp_path):
    keys = tmp_path / "psk"
    keys.mkdir()
    (keys / "keys.psk").write_bytes(psk_file.read_bytes())
    with tcp(disk, f"--tls-certificates={certificates}", f"--tls-psk={psk_file}") as server:
        port = port_of(server)
        for tls in (f"tls-creds-x509,id=tls,endpoint=client,dir={certificates}",
                    f"tls-creds-psk,id=tls,endpoint=client,dir={keys},username=bob"):
            copy = tmp_path / "copy"
            nbd.client("qemu-img", "convert", "--object", tls, "--image-opts", "-O", "raw",
                       f"driver=nbd,host=localhost,port={port},export=new,tls-creds=tls", copy)
            assert copy.read_bytes() == disk.truth["new"]


def test_maps_and_increments_go_over_tls(disk, certificates, psk_file, tmp_path):
    keys, previous = tmp_path / "psk", tmp_path / "old.raw"
    keys.mkdir()
    (keys / "keys.psk").write_bytes(psk_file.read_bytes())
    previous.write_bytes(disk.truth["old"])
    with tcp(disk, f"--tls-certificates={certificates}", f"--tls-psk={psk_file}") as server:
        port = port_of(server)
        for uri, tls in (
                (f"nbds://localhost:{port}/new?tls-certificates={certificates}",
                 f"tls-creds-x509,id=tls,endpoint=client,dir={certificates}"),
                (f"nbds://alice@localhost:{port}/new?tls-psk-file={psk_file}",
                 f"tls-creds-psk,id=tls,endpoint=client,dir={keys},username=alice")):
            entries = json.loads(nbd.client("nbdinfo", "--map=qemu:dirty-bitmap:old",
                                            "--json", uri))
            assert {e["offset"] for e in entries if e["type"]} == {0}
            top, back = tmp_path / "top.qcow2", tmp_path / "back.raw"
            nbd.client("qemu-img", "convert", "--object", tls, "--image-opts", "-O", "qcow2",
                       "-B", previous, "-F", "raw",
                       f"driver=nbd,host=localhost,port={port},export=new,tls-creds=tls,"
                       "x-dirty-bitmap=nbdsnap:clean:old", top)
            nbd.client("qemu-img", "convert", "-O", "raw", top, back)
            assert back.read_bytes() == disk.truth["new"]
            held = json.loads(nbd.client("qemu-img", "map", "--output=json", top))
            assert sum(e["length"] for e in held if e["depth"] == 0 and e["present"]) == 2 * 65536


def test_a_key_for_once_is_in_a_file_for_the_owner_and_never_printed(disk):
    server = serve.Serving("--tls-psk=auto", disk.path)
    path = pathlib.Path(server.first.split("tls-psk-file=")[1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = path.read_text().strip().split(":")[1]
    assert len(key) == 64
    assert int(nbd.client("nbdinfo", "--size", server.first)) == 2 * MIB
    messages = server.stop()
    assert key not in messages + server.first + server.rest
    assert not path.exists()


# ---- who does not ----

def test_without_tls_there_is_only_the_door_where_it_is_required(disk, psk_file):
    with serve.Serving(f"--tls-psk={psk_file}", disk.path) as server:
        result = nbd.client("nbdinfo", server.uri("new"), check=False)
        assert result.returncode != 0
        result = nbd.client("nbdinfo", "--list", server.uri(), check=False)
        assert result.returncode != 0 and "new" not in result.stdout


def test_tls_that_may_be_used_need_not_be(disk, psk_file):
    with serve.Serving(f"--tls-psk={psk_file}", "--tls=on", disk.path) as server:
        assert int(nbd.client("nbdinfo", "--size", server.uri("new"))) == 2 * MIB
        secure = server.uri("new").replace("nbd+unix://", "nbds+unix://alice@")
        assert int(nbd.client("nbdinfo", "--size",
                              f"{secure}&tls-psk-file={psk_file}")) == 2 * MIB


def test_where_none_is_offered_a_client_that_wants_it_leaves(disk, psk_file):
    with serve.Serving(disk.path) as server:
        secure = server.uri("new").replace("nbd+unix://", "nbds+unix://alice@")
        result = nbd.client("nbdinfo", f"{secure}&tls-psk-file={psk_file}", check=False)
        assert result.returncode != 0


# ---- what is refused ----

@pytest.mark.parametrize("options, code", [
    (["--tls=maybe"], 2), (["--tls=require"], 2), (["--tls=on"], 2), (["--tls-verify-peer"], 2),
    (["--tls-psk=/nowhere"], 1), (["--tls-certificates=/nowhere"], 1)])
def test_a_server_without_keys_does_not_start(disk, options, code, tmp_path):
    result = subprocess.run(
        [str(tools.nbdsnap()), "--state-dir", tmp_path / "state", "serve", "--socket",
         tmp_path / "socket", *options, disk.path], capture_output=True, text=True)
    assert result.returncode == code and result.stderr.count("\n") == 1, result.stderr
    assert not (tmp_path / "socket").exists()


@pytest.mark.parametrize("text", ["", "alice", "alice:", ":00112233445566778899aabbccddeeff",
                                  "alice:0011", "alice:" + 31 * "0", "alice:" + 32 * "x",
                                  "alice:" + 514 * "0"])
def test_what_is_no_file_of_keys_is_told_without_its_content(disk, text, tmp_path):
    path = tmp_path / "keys"
    path.write_text(text + "\n")
    result = subprocess.run(
        [str(tools.nbdsnap()), "--state-dir", tmp_path / "state", "serve", "--socket",
         tmp_path / "socket", f"--tls-psk={path}", disk.path], capture_output=True, text=True)
    assert result.returncode == 1 and str(path) in result.stderr, result.stderr
    assert "alice" not in result.stderr
