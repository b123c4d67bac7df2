# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual's recipes, word by word, and the units that are an example."""

import configparser
import os
import re
import subprocess
import time

import pytest

from snaplib import nbd, tools
from snaplib.disk import CLUSTER, Disk
from snaplib.serve import Serving

MANUAL = tools.TOP / "docs" / "nbdsnap-serve.pod"
UNITS = tools.TOP / "examples" / "systemd"
MIB = 1 << 20


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    tools.require("nbdinfo", "nbdcopy", "qemu-img", "qemu-io")
    disk = Disk(tmp_path_factory.mktemp("recipes") / "disk.qcow2", 2 * MIB)
    disk.write(0, MIB, 1)
    disk.snapshot("mon")
    disk.write(3 * CLUSTER, CLUSTER, 2)
    disk.snapshot("tue")
    return disk


@pytest.fixture(scope="module")
def server(disk):
    with Serving(disk.path) as server:
        yield server


def recipes():
    """{title: lines of commands} of the manual."""
    text = MANUAL.read_text().split("=head1 RECIPES")[1].split("=head1")[0]
    items = re.split(r"^=item (.*)$", text, flags=re.MULTILINE)[1:]
    return {title: [line[1:] for line in body.splitlines() if line.startswith(" ")]
            for title, body in zip(items[::2], items[1::2])}


def run(lines, server, folder):
    """As typed into a shell, with the socket where this server has it."""
    script = "\n".join(line.removeprefix("$ ") for line in lines)
    script = f"""
tue='nbd+unix:///tue?socket=/run/vm.sock'
since_mon=driver=nbd,server.type=unix,server.path=/run/vm.sock,export=tue
{script}""".replace("/run/vm.sock", str(server.socket))
    return tools.run(["bash", "-euc", script], cwd=folder)


def recipe(word):
    [lines] = [lines for title, lines in recipes().items() if word in title]
    return lines


def test_there_is_one_for_each_program():
    assert len(recipes()) == 9


def test_the_way_to_serve_is_the_one_that_is_tested():
    text = MANUAL.read_text().split("=head1 RECIPES")[1]
    assert " $ nbdsnap serve --socket=/run/vm.sock disk.qcow2 &\n" in text
    assert " $ tue='nbd+unix:///tue?socket=/run/vm.sock'\n" in text


def test_nbdinfo_lists_maps_and_adds_up(server, tmp_path):
    out = run(recipe("nbdinfo"), server, tmp_path)
    assert 'export="mon..tue":' in out
    assert re.search(rf"^ *{3 * CLUSTER} +{CLUSTER} +1 +dirty$", out, re.MULTILINE)
    assert re.search(rf"^ *{CLUSTER} +3\.1% +1 +dirty$", out, re.MULTILINE)


def test_a_copy_and_what_changed_since_are_the_disk(server, disk, tmp_path):
    out = run(recipe("nbdcopy") + recipe("qemu-img"), server, tmp_path)
    assert (tmp_path / "mon.raw").read_bytes() == disk.truth["mon"]
    tools.run(["qemu-img", "convert", "-O", "raw", tmp_path / "tue.qcow2", tmp_path / "tue.raw"])
    assert (tmp_path / "tue.raw").read_bytes() == disk.truth["tue"]
    assert f'"start": {3 * CLUSTER}, "length": {CLUSTER}' in out
    [changed] = [line for line in out.splitlines() if f'"start": {3 * CLUSTER},' in line]
    assert '"data": false' in changed and out.count('"data": false') == 1


def test_libnbd_prints_both_contexts(server, tmp_path):
    program = "\n".join(recipe("libnbd")).replace("/run/vm.sock", str(server.socket))
    out = tools.run(["/usr/bin/python3", "-c", program], cwd=tmp_path)
    assert f"qemu:dirty-bitmap:mon [{3 * CLUSTER}, 0, {CLUSTER}, 1, " in out
    assert out.startswith("base:allocation [") or "\nbase:allocation [" in out


def test_the_export_with_one_bitmap_is_there(server):
    out = nbd.client("nbdinfo", server.uri("mon..tue"))
    assert "qemu:dirty-bitmap:mon" in out


# ---- units ----

def unit(name):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string((UNITS / name).read_text())
    return parser


def test_the_units_belong_together_and_systemd_takes_them(tmp_path):
    tools.require("systemd-analyze")
    service, listening = unit("nbdsnap-vm.service"), unit("nbdsnap-vm.socket")
    assert service["Unit"]["Requires"] == service["Unit"]["After"] == "nbdsnap-vm.socket"
    assert listening["Socket"]["SocketMode"] == "0600"
    for name in ("nbdsnap-vm.service", "nbdsnap-vm.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(
            text.replace("/usr/bin/nbdsnap", str(tools.nbdsnap().resolve())))
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())],
        capture_output=True, text=True, timeout=60)
    about_ours = [line for line in result.stderr.splitlines() if "nbdsnap" in line]
    assert about_ours == []


def wait_for(socket, process):
    end = time.monotonic() + nbd.DEADLINE
    while not os.path.exists(socket):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


def test_the_command_of_the_unit_serves_on_a_socket_of_systemd(disk, tmp_path):
    tools.require_root()
    tools.require("systemd-socket-activate")
    words = unit("nbdsnap-vm.service")["Service"]["ExecStart"].split()
    assert words[0] == "/usr/bin/nbdsnap" and words[-1].endswith("/disk.qcow2")
    socket = tmp_path / "socket"
    process = subprocess.Popen(
        ["systemd-socket-activate", f"--listen={socket}", str(tools.nbdsnap()),
         f"--state-dir={tmp_path / 'state'}", *words[1:-1], str(disk.path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(socket, process)
        assert nbd.full_copy(nbd.uri(socket, "tue"), tmp_path) == disk.truth["tue"]
    finally:
        process.terminate()
        process.wait(nbd.DEADLINE)
