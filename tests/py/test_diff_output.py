# SPDX-License-Identifier: LGPL-2.1-or-later
"""The forms of a diff: text, json, qemu-map, map, totals.  The truth is what was
written; the form of qemu-map is that of qemu-img itself."""

import fcntl
import itertools
import json
import os
import pty
import re
import struct
import subprocess
import termios

import pytest

from snaplib import nbd, tools
from snaplib.cli import answer, command, done, nbdsnap, refused
from snaplib.disk import CLUSTER, Disk

MIB = 1 << 20
FORMATS = ("text", "json", "qemu-map", "map", "totals")
POINTS = ("empty", "old", "new", "grown", "small")
PAIRS = [(a, b) for a, b in itertools.product(POINTS, POINTS[1:]) if a != b]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """old; new (all kinds of changes); grown; small (shrunk)."""
    tools.require("qemu-img", "qemu-io")
    disk = Disk(tmp_path_factory.mktemp("diff") / "vm.qcow2", 2 * MIB)
    disk.truth["empty"] = b""
    for at in range(0, MIB, CLUSTER):
        disk.write(at, CLUSTER, 1 + at // CLUSTER)
    disk.snapshot("old")
    disk.write(1 * CLUSTER, 2 * CLUSTER, 21)         # two whole clusters
    disk.write(4 * CLUSTER + 8192, 4096, 22)         # a part of one
    disk.zero(6 * CLUSTER, CLUSTER)                  # a zero cluster
    disk.discard(7 * CLUSTER, CLUSTER)               # gone, right behind it
    disk.write(8 * CLUSTER, CLUSTER, 23)             # data, right behind that
    disk.write(len(disk.model) - 512, 512, 24)       # the last sector
    disk.snapshot("new")
    disk.resize(3 * MIB + 4096)
    disk.write(2 * MIB + CLUSTER + 512, 512, 31)
    disk.write(3 * MIB, 4096, 32)
    disk.snapshot("grown")
    disk.resize(MIB + MIB // 2 + 512)
    disk.write(0, 512, 41)
    disk.snapshot("small")
    return disk


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def extents(disk, before, after):
    """[(offset, length, zero)] of the JSON."""
    diff = answer("diff", f"{disk.path}@{before}..{after}")
    return [(e["offset"], e["length"], e["zero"]) for e in diff["extents"]]


# ---- json ----

@pytest.mark.parametrize("before, after", PAIRS)
def test_json_lists_what_changed_and_nothing_twice(disk, before, after):
    old, new = disk.truth[before], disk.truth[after]
    diff = answer("diff", f"{disk.path}@{before}..{after}")
    found = [(e["offset"], e["length"], e["zero"]) for e in diff["extents"]]
    assert (diff["from_size"], diff["size"]) == (len(old), len(new))
    assert diff["dirty_bytes"] == sum(length for _, length, _ in found)
    for at, length, zero in found:
        assert length > 0 and at + length <= len(new)
        assert not zero or not any(new[at:at + length])
        assert at % diff["granularity"] == 0 or at == len(old)
    for (at, length, zero), (following, _, other) in itertools.pairwise(found):
        assert at + length <= following, "not sorted, or overlapping"
        assert at + length < following or zero != other, "not coalesced"
    assert_covers(found, old, new)


def assert_covers(found, old, new):
    """Every byte that differs, and all past the end of the older one."""
    at = 0
    for offset, length, _ in [*found, (len(new), 0, False)]:
        assert offset <= len(old) or at == offset, "a grown tail that is clean"
        assert new[at:offset] == old[at:offset], f"missed in {at}..{offset}"
        at = offset + length


def test_json_is_exact_where_the_storage_is(disk):
    """The changes of the fixture, cluster by cluster."""
    last = 2 * MIB - CLUSTER
    assert extents(disk, "old", "new") == [
        (1 * CLUSTER, 2 * CLUSTER, False), (4 * CLUSTER, CLUSTER, False),
        (6 * CLUSTER, 2 * CLUSTER, True), (8 * CLUSTER, CLUSTER, False),
        (last, CLUSTER, False)]


def test_a_grown_tail_is_dirty_and_zero_where_nothing_was_written(disk):
    tail = [e for e in extents(disk, "new", "grown") if e[0] >= 2 * MIB]
    assert tail == [
        (2 * MIB, CLUSTER, True), (2 * MIB + CLUSTER, CLUSTER, False),
        (2 * MIB + 2 * CLUSTER, MIB - 2 * CLUSTER, True),
        (3 * MIB, 4096, False)]


def test_a_shrunk_volume_s_diff_ends_with_it(disk):
    size = MIB + MIB // 2 + 512
    assert extents(disk, "grown", "small") == [(0, CLUSTER, False)]
    (*_, last) = extents(disk, "empty", "small")
    assert last[0] + last[1] == size


def test_an_unchanged_volume_has_no_extents(disk, tmp_path):
    same = Disk(tmp_path / "same.qcow2", MIB)
    same.write(0, CLUSTER, 1)
    same.snapshot("a")
    same.snapshot("b")
    assert extents(same, "a", "b") == []
    reference = f"{same.path}@a..b"
    assert done("diff", reference) == "# end 0 extents\n"
    assert done("diff", "-f", "qemu-map", reference) == (
        '[{ "start": 0, "length": 1048576, "depth": 0, "present": false, '
        '"zero": false, "data": false}]\n')


def test_json_has_two_names_and_two_points_two_ways(disk):
    one = done("diff", "--json", f"{disk.path}@old..new")
    for words in (["--format=json"], ["-f", "json"], ["--json", "--format=json"]):
        assert done("diff", *words, f"{disk.path}@old..new") == one
    assert done("diff", "--json", f"{disk.path}@old", f"{disk.path}@new") == one


# ---- text ----

@pytest.mark.parametrize("before, after", PAIRS)
def test_text_says_the_same_as_json(disk, before, after):
    lines = done("diff", f"{disk.path}@{before}..{after}").splitlines()
    wanted = extents(disk, before, after)
    assert lines.pop() == f"# end {len(wanted)} extents"
    assert [tuple(line.split()) for line in lines] == [
        (str(at), str(length), "dirty,zero" if zero else "dirty")
        for at, length, zero in wanted]
    assert len({line.index(" dirty") for line in lines}) <= 1, "not aligned"


# ---- qemu-map ----

def sectors(entries, size_below):
    """What each sector of an overlay is.  One that the overlay lacks is that of
    the image below; past the end of that, it reads as zeroes."""
    found = []
    for entry in entries:
        assert entry["depth"] == 0 and entry["start"] == 512 * len(found)
        for at in range(entry["start"], entry["start"] + entry["length"], 512):
            absent = not entry["present"] and at < size_below
            found.append("below" if absent else "data" if entry["data"] else "zero")
    return found


def states(entries):
    return [(e["present"], e["zero"], e["data"]) for e in entries]


def template(text):
    """How a map is written: numbers and truth values left out."""
    lines = re.sub(r', "(offset|compressed)": \w+', "", text).splitlines()
    plain = {re.sub(r": (true|false|\d+)", ": ?", line.strip("[],")) for line in lines}
    return plain, text[0], text[-2:], all(
        line.endswith("},") for line in lines[:-1])


@pytest.mark.parametrize("before, after", [
    ("old", "new"), ("new", "grown"), ("grown", "small"), ("new", "old")])
def test_qemu_map_is_what_qemu_img_says_of_the_overlay(disk, before, after, tmp_path):
    """The overlay is made by qemu-img from the plugin; its own map must be the
    one that was told beforehand."""
    tools.require("nbdkit")
    below, overlay = tmp_path / "below.qcow2", tmp_path / "overlay.qcow2"
    with nbd.Server(disk.path) as server:
        tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2",
                   server.uri(before), below])
        tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-B", below,
                   "-F", "qcow2", server.uri(f"{before}..{after}"), overlay])
    tools.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "", overlay])
    real = tools.run(["qemu-img", "map", "--output=json", overlay])
    ours = done("diff", "--format=qemu-map", f"{disk.path}@{before}..{after}")
    assert template(ours) == template(real)
    ours, real, below = json.loads(ours), json.loads(real), len(disk.truth[before])
    assert sectors(ours, below) == sectors(real, below)
    assert all(a != b for a, b in itertools.pairwise(states(ours))), "not coalesced"
    assert set(states(ours)) <= {
        (True, False, True), (True, True, False), (False, False, False)}


def test_qemu_map_of_nothing_is_what_qemu_img_says(tmp_path):
    nothing = Disk(tmp_path / "nothing.qcow2", 0)
    nothing.snapshot("s")
    real = tools.run(["qemu-img", "map", "--output=json", nothing.path])
    ours = done("diff", "-f", "qemu-map", f"{nothing.path}@empty..s")
    assert template(ours) == template(real)
    assert sectors(json.loads(ours), 0) == sectors(json.loads(real), 0) == []


# ---- map ----

CLEAN = {"C": ".", "C.UTF-8": "·"}
DATA = {"C": "-+*#", "C.UTF-8": "▁▂▃▄▅▆▇█"}
ZERO = {"C": "oO", "C.UTF-8": "░▒▓"}


def drawn(reference, locale, width):
    env = dict(os.environ, LC_ALL=locale, COLUMNS=str(width))
    return done("diff", "-f", "map", reference, env=env)


def dirty_in(found, start, end):
    """How many bytes of a range are dirty, and how many of those zero."""
    overlaps = [(max(0, min(at + length, end) - max(at, start)), zero)
                for at, length, zero in found]
    return (sum(n for n, _ in overlaps), sum(n for n, zero in overlaps if zero))


@pytest.mark.parametrize("width", [20, 33, 80, 1000])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("before, after", [
    ("old", "new"), ("new", "grown"), ("grown", "small"), ("empty", "old")])
def test_a_column_of_the_map_shows_what_is_in_it(disk, before, after, locale, width):
    found, size = extents(disk, before, after), len(disk.truth[after])
    output = drawn(f"{disk.path}@{before}..{after}", locale, width)
    strip = output.splitlines()[0]
    assert len(strip) == width and strip[0] == strip[-1]
    assert all(len(line) <= max(width, 80) for line in output.splitlines())
    columns = strip[1:-1]
    for i, glyph in enumerate(columns):
        start, end = i * size // len(columns), (i + 1) * size // len(columns)
        dirty, zero = dirty_in(found, start, end)
        if dirty == 0:
            assert glyph == CLEAN[locale], (i, strip)
        elif zero > dirty // 2:
            assert glyph in ZERO[locale], (i, strip)
        else:
            assert glyph in DATA[locale], (i, strip)
        if dirty == end - start and zero == 0:
            assert glyph == DATA[locale][-1], (i, strip)


def test_one_dirty_cluster_of_a_huge_disk_is_seen(tmp_path):
    huge = tmp_path / "huge.qcow2"
    tools.run(["qemu-img", "create", "-q", "-f", "qcow2", huge, "8T"])
    tools.run(["qemu-img", "snapshot", "-c", "a", huge])
    tools.run(["qemu-io", "-f", "qcow2", "-c", "write -q 5T 4k", huge])
    tools.run(["qemu-img", "snapshot", "-c", "b", huge])
    strip, *rest = drawn(f"{huge}@a..b", "C", 82).splitlines()
    assert strip == "|" + "." * 50 + "-" + "." * 29 + "|"
    assert "64.0 KiB of 8.0 TiB dirty (< 0.1 %), 1 extents" in rest[-1]


def test_the_map_of_an_empty_volume_is_no_strip(tmp_path):
    nothing = Disk(tmp_path / "nothing.qcow2", 0)
    nothing.snapshot("s")
    assert "empty volume" in drawn(f"{nothing.path}@empty..s", "C", 80)


def on_terminal(words, columns, **changes):
    """What a terminal gets that is this wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    env.update({"LC_ALL": "C.UTF-8", "TERM": "xterm", **changes})
    process = subprocess.Popen(command(*words), env=env, stdout=theirs,
                               stderr=subprocess.PIPE)
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 65536):
            output += chunk
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0, process.stderr.read()
    process.stderr.close()
    return output.decode().replace("\r\n", "\n")


def test_on_a_terminal_the_map_is_as_wide_and_coloured(disk):
    words = ("diff", "-f", "map", f"{disk.path}@old..new")
    coloured = on_terminal(words, 57)
    strip = coloured.splitlines()[0]
    assert "\x1b[1;31m" in strip and "\x1b[1;36m" in strip
    plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert len(plain.splitlines()[0]) == 57
    assert on_terminal(words, 57, NO_COLOR="1") == plain
    assert on_terminal(words, 57, TERM="dumb") == plain
    assert "\x1b" not in drawn(f"{disk.path}@old..new", "C.UTF-8", 57)


# ---- totals ----

@pytest.mark.parametrize("before, after", PAIRS)
def test_totals_are_the_sums_of_the_extents(disk, before, after):
    found, size = extents(disk, before, after), len(disk.truth[after])
    dirty, zero = dirty_in(found, 0, size)
    output = done("diff", "--bytes", "-f", "totals", f"{disk.path}@{before}..{after}")
    head, *rows, foot = output.splitlines()
    assert head.split() == ["KIND", "SIZE", "SHARE"]
    assert [tuple(row.split()[:2]) for row in rows] == [
        ("dirty", str(dirty - zero)), ("dirty,zero", str(zero)),
        ("clean", str(size - dirty)), ("all", str(size))]
    share = float(rows[0].split()[2]) if "<" not in rows[0] else 0
    assert abs(share - 100 * (dirty - zero) / size) < 0.1
    assert foot.startswith(f"# {len(found)} extents, granularity ")


# ---- the streams ----

@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_under_the_output_is_an_error(disk, form):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            command("diff", "-f", form, f"{disk.path}@old..new"),
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    result.stdout = ""
    refused(result, 1, "standard output", "space")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """An image whose diff from nothing is more than a pipe holds."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "raw").write_bytes((b"x" * 512 + bytes(512)) * 8192)
    tools.run(["qemu-img", "convert", "-O", "qcow2", "-S", "512",
               "-o", "cluster_size=512", folder / "raw", folder / "many.qcow2"])
    tools.run(["qemu-img", "snapshot", "-c", "s", folder / "many.qcow2"])
    return f"{folder}/many.qcow2@empty..s"


@pytest.mark.parametrize("form", ["text", "json", "qemu-map"])
def test_nothing_is_said_when_nobody_reads(many, form):
    """As with `| head`: and what was read is not complete."""
    process = subprocess.Popen(
        command("diff", "-f", form, many), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    head = os.read(process.stdout.fileno(), 4096)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 1
    assert b'"complete"' not in head and b"# end" not in head and b"]" not in head


def test_a_live_diff_says_that_it_describes_no_retained_point(disk):
    live = f"{disk.path}@old..live"
    for form in FORMATS:
        result = nbdsnap("diff", "-f", form, live)
        assert result.returncode == 0
        if form == "json":
            assert result.stderr == "" and '"retained":false' in result.stdout
        else:
            assert len(result.stderr.splitlines()) == 1
            assert "no retained point" in result.stderr
            assert "retained" not in result.stdout
    assert answer("diff", f"{disk.path}@old..new")["retained"] is True


def test_progress_is_shown_only_if_wanted(many):
    assert nbdsnap("diff", many).stderr == ""
    shown = nbdsnap("diff", "--progress", many)
    assert shown.returncode == 0
    assert re.fullmatch(r"(comparing: [<>]? ?\d+\.\d %\n)+", shown.stderr)
    assert shown.stdout == nbdsnap("diff", many).stdout
