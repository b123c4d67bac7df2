# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disk files on btrfs and XFS where something is wrong or odd: one line on
stderr, the right exit code, nothing left behind, and nothing of others'
touched."""

import collections
import errno
import itertools
import os
import subprocess

import nbd as libnbd
import pytest

from snaplib import cli, file_disk, file_sets, filesystems, nbd, tools

KIB = 1 << 10
refused = cli.refused
_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def needs():
    tools.require_root()
    tools.require("btrfs", "mkfs.xfs")


@pytest.fixture(scope="module")
def btrfs():
    return filesystems.btrfs("512M")


@pytest.fixture(scope="module")
def xfs():
    return filesystems.xfs("320M")


@pytest.fixture(params=["btrfs", "reflink"])
def place(request):
    """(kind, file system) of both kinds in turn."""
    name = "btrfs" if request.param == "btrfs" else "xfs"
    return request.param, request.getfixturevalue(name)


def new_folder(kind, filesystem):
    """For one test alone: what lies beside its disk is its own."""
    folder = filesystem.path / f"t{next(_numbers)}"
    return filesystems.subvolume(folder) if kind == "btrfs" else _made(folder)


def _made(folder):
    folder.mkdir()
    return folder


def new_disk(place, size=64 * KIB, name="disk.raw"):
    kind, filesystem = place
    folder = new_folder(kind, filesystem)
    disk = file_disk.FileDisk(kind, folder, size, name, filesystem.image.parent / "state")
    disk.filesystem = filesystem
    disk.write(0, b"one" * (min(size, 9000) // 3))
    return disk


@pytest.fixture
def disk(place):
    return new_disk(place)


def check_clean(disk):
    assert disk.remains() == [] and not list(disk.state.glob("journal/*"))


# ---- somebody else's directory ----

def foreign_directory(at):
    at.mkdir()
    (at / "precious").write_text("precious")


def foreign_file(at):
    at.write_text("precious")


def foreign_link(at):
    elsewhere = at.parent / "elsewhere"
    foreign_directory(elsewhere)
    at.symlink_to(elsewhere)


def other_version(at):
    at.mkdir()
    os.setxattr(at, "user.nbdsnap.directory", b"2")


@pytest.mark.parametrize("make", [foreign_directory, foreign_file, foreign_link, other_version])
def test_a_foreign_thing_of_our_name_is_refused_and_kept(disk, make):
    at = disk.folder / ".nbdsnap"
    make(at)
    before = sorted((str(p), p.lstat().st_mtime_ns) for p in disk.folder.rglob("*"))
    for arguments in (["create"], ["list"]):
        refused(disk.nbdsnap(*arguments, disk.reference()), 1, ".nbdsnap", "not a directory")
    result = disk.nbdsnap("diff", disk.reference("empty..live"))
    assert result.returncode == (1 if disk.kind == "btrfs" else 0), result.stderr
    after = sorted((str(p), p.lstat().st_mtime_ns) for p in disk.folder.rglob("*"))
    assert after == before


def test_a_foreign_thing_where_the_directory_is_made_is_kept(disk):
    foreign_directory(disk.folder / ".nbdsnap-new")
    refused(disk.nbdsnap("create", disk.reference()), 1, ".nbdsnap-new")
    assert (disk.folder / ".nbdsnap-new" / "precious").exists()
    assert not (disk.folder / ".nbdsnap").exists()


# ---- snapshots of others ----

@pytest.mark.parametrize("name", ["mine", "a b@c#d", "line\nfeed", "x.nbdsnap-0123", "-n"])
def test_a_snapshot_of_others_is_listed_and_read_but_never_deleted(disk, tmp_path, name):
    disk.snapshot("ours")
    path = disk.snapshot_by_hand(name)
    truth = disk.content()
    disk.write(0, b"changed")
    listed = disk.answer("list", disk.reference())["volumes"][0]["snapshots"]
    entry = next(s for s in listed if s["name"] == name)
    assert entry["ours"] is False and [s["name"] for s in listed if s["ours"]] == ["ours"]
    refused(disk.nbdsnap("delete", entry["reference"]), 1, "not made by nbdsnap")
    with nbd.Server(entry["reference"]) as server:
        assert nbd.full_copy(server.uri(), tmp_path) == truth
    result = disk.nbdsnap("diff", entry["reference"] + "..live")
    if disk.kind == "btrfs":
        assert result.returncode == 0, result.stderr
    else:  # whoever made it did not note of which file
        refused(result, 5, "not known which file")
    disk.delete("ours")
    assert path.read_bytes() == truth


def test_what_looks_like_ours_but_is_not_of_this_volume_is_kept(btrfs):
    """In one subvolume, and with a name like ours: but it was never made for
    this file."""
    disk = new_disk(("btrfs", btrfs))
    disk.snapshot("ours")
    path = disk.snapshot_by_hand("x.nbdsnap-0123456789abcdef")
    name = path.parent.name
    assert disk.names() == ["ours", name]
    refused(disk.nbdsnap("delete", disk.reference(name)), 1, "not made by nbdsnap")
    disk.delete("ours")
    assert path.exists()


def test_files_of_one_subvolume_do_not_share_names(btrfs):
    """A snapshot holds them all, but is of those that it was made for."""
    one = new_disk(("btrfs", btrfs))
    two = file_disk.FileDisk("btrfs", one.folder, 4096, "two.raw", one.state)
    one.snapshot("s")
    assert one.names() == ["s"] and two.names() == []
    two.snapshot("s")
    one.delete("s")
    assert one.names() == [] and two.names() == ["s"]
    two.delete("s")
    check_clean(one)


def test_things_that_are_no_snapshots_are_not_listed(disk):
    disk.snapshot("ours")
    shelf = disk.snapshot_path("ours").parent
    if disk.kind == "btrfs":
        shelf = shelf.parent
        tools.run(["btrfs", "subvolume", "snapshot", disk.folder, shelf / "writable"])
        tools.run(["btrfs", "subvolume", "create", shelf / "empty-one"])
        (shelf / "file").write_text("x")
    os.mkfifo(shelf / "fifo")
    (shelf / "folder").mkdir()
    (shelf / "dangling").symlink_to("nowhere")
    (shelf / "link").symlink_to(disk.path)
    assert disk.names() == ["ours"]
    disk.delete("ours")
    assert (shelf / "fifo").exists() and (shelf / "folder").exists()


# ---- no room ----

@pytest.mark.parametrize("make", [
    lambda: file_disk.on_btrfs("64M", mkfs=("-M",)), lambda: file_disk.on_xfs("320M")],
    ids=["btrfs", "XFS"])
def test_a_set_on_a_full_file_system_leaves_nothing(make, disk):
    """The first volume has room; it is the second one's that has none."""
    full = make()
    full.write(0, b"x" * 20000)
    file_disk.fill(full.filesystem.path)
    result = disk.nbdsnap("create", "-n", "s", disk.reference(), full.reference())
    refused(result, 7, "No space left")
    check_clean(disk)
    assert full.remains() == []
    assert disk.names() == full.names() == []
    full.filesystem.unmount()


@pytest.mark.parametrize("title", ["btrfs, two subvolumes", "XFS, one directory"])
@pytest.mark.parametrize("verb", ["create", "delete"])
def test_no_room_at_any_step_leaves_all_or_nothing(title, verb):
    """Each call that changes something fails once with ENOSPC."""
    file_sets.require()
    bed = file_sets.make(title)
    codes, unexpected = collections.Counter(), []
    if verb == "delete":
        bed.nbdsnap("create", "-n", "s", *bed.references())
    point = "s" if verb == "delete" else None
    name = ["-n", "s"] if verb == "create" else []
    for n, call, result in bed.faults(verb, *name, *bed.references(point),
                                      errno=errno.ENOSPC):
        codes[result.returncode] += 1
        lines = result.stderr.splitlines()
        failed = result.returncode not in (0, 4)
        if failed != (len(lines) == 1) or any(not x.startswith("nbdsnap: ") for x in lines):
            unexpected.append((n, call, result.returncode, result.stderr))
        before = verb == "delete"
        if result.returncode == 9:
            bed.nbdsnap("doctor")
        elif failed and (bed.listed() == ["s"]) != before:
            unexpected.append((n, call, result.returncode, result.stderr, bed.listed()))
        if bed.half_made():
            unexpected.append((n, call, result.returncode, result.stderr, bed.half_made()))
        bed.nbdsnap("doctor")  # sweeps empty lock files, too
        bed.clear()
        if verb == "delete":
            bed.nbdsnap("create", "-n", "s", *bed.references())
    bed.clear()
    print(f"TABLE {title}: {verb} of 2 without room at {sum(codes.values())} calls: "
          + ", ".join(f"{n} times exit {code}" for code, n in sorted(codes.items())))
    assert not unexpected, "\n".join(map(str, unexpected))
    assert codes[7] > 5
    bed.filesystem.unmount()


# ---- where nothing can be written ----

def test_a_read_only_mount_can_be_read_and_nothing_else(place, tmp_path):
    kind, _ = place
    disk = file_disk.on_btrfs("256M", size=64 * KIB) if kind == "btrfs" \
        else file_disk.on_xfs("320M", size=64 * KIB)
    disk.snapshot("a")
    disk.write(0, b"x" * 5000)
    disk.snapshot("b")
    disk.filesystem.remount("ro")
    for arguments in (["create", disk.reference()], ["delete", disk.reference("a")],
                      ["diff", disk.reference("a..live")]):
        refused(disk.nbdsnap(*arguments), 1, "ead-only")
    assert disk.names() == ["a", "b"] and disk.diff("a", "b")["dirty_bytes"] == 8192
    with nbd.Server(disk.reference()) as server:
        assert nbd.full_copy(server.uri("a..b"), tmp_path) == disk.truth["b"]
    disk.done("doctor")
    disk.filesystem.remount("rw")
    disk.delete("a", "b")
    check_clean(disk)
    disk.filesystem.unmount()


def test_a_file_in_a_read_only_subvolume_is_not_snapshotted(btrfs):
    disk = new_disk(("btrfs", btrfs))
    disk.snapshot("a")
    inside = disk.snapshot_path("a")
    refused(disk.nbdsnap("create", f"btrfs:{inside}"), 1, "read-only")
    frozen = disk.folder.parent / "frozen"
    tools.run(["btrfs", "subvolume", "snapshot", "-r", disk.folder, frozen])
    refused(disk.nbdsnap("create", f"btrfs:{frozen / 'disk.raw'}"), 1, "read-only")
    disk.delete("a")


@pytest.mark.parametrize("kind", ["btrfs", "reflink"])
def test_another_file_system_is_refused_by_name(kind, tmp_path):
    folder = tmp_path / "tmpfs"
    folder.mkdir()
    filesystems.xfs()  # moves us into a mount namespace of our own
    tools.run(["mount", "-t", "tmpfs", "none", folder])
    (folder / "disk.raw").write_bytes(b"x" * 9000)
    result = cli.nbdsnap("create", f"{kind}:{folder / 'disk.raw'}", state=str(tmp_path / "state"))
    refused(result, 1, "tmpfs/disk.raw")
    assert os.listdir(folder) == ["disk.raw"]
    result = cli.nbdsnap("create", folder / "disk.raw", state=str(tmp_path / "state"))
    refused(result, 1, "disk.raw")
    tools.run(["umount", folder])


def test_a_file_system_without_reflink_is_refused():
    disk = file_disk.on_xfs("320M", mkfs=("-m", "reflink=0"), size=64 * KIB)
    refused(disk.nbdsnap("create", disk.reference()), 1, "cannot share blocks")
    assert disk.remains() == []
    disk.filesystem.unmount()


def test_a_btrfs_file_on_xfs_and_a_file_without_its_top_are_refused(btrfs, xfs, tmp_path):
    disk = new_disk(("btrfs", btrfs))
    other = new_disk(("reflink", xfs))
    refused(disk.nbdsnap("list", f"btrfs:{other.path}"), 1)
    # Bind mounts that show the file, but not the top of its subvolume.
    (disk.folder / "sub").mkdir()
    (disk.folder / "sub" / "disk.raw").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").touch()
    tools.run(["mount", "--bind", disk.folder / "sub", tmp_path / "sub"])
    tools.run(["mount", "--bind", disk.path, tmp_path / "file"])
    for path in (tmp_path / "sub" / "disk.raw", tmp_path / "file"):
        refused(disk.nbdsnap("create", f"btrfs:{path}"), 1, "top of its subvolume")
    assert disk.remains() == [] and not list((tmp_path / "sub").glob(".nbdsnap*"))
    tools.run(["umount", tmp_path / "sub", tmp_path / "file"])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda at: os.mknod(at, 0o10644)])
def test_what_is_no_plain_file_is_refused(disk, make):
    at = disk.folder / "odd"
    make(at)
    refused(disk.nbdsnap("list", f"{disk.kind}:{at}"), 1, "odd")
    refused(disk.nbdsnap("create", f"{disk.kind}:{at}"), 1, "odd")
    refused(disk.nbdsnap("list", f"{disk.kind}:{disk.path}#part"), 2, "part")
    refused(disk.nbdsnap("list", f"{disk.kind}:{disk.folder / 'none'}"), 1, "none")
    refused(disk.nbdsnap("list", f"{disk.kind}:{disk.path}/x"), 1)


# ---- snapshots that go away ----

def test_a_snapshot_that_is_served_is_held(disk):
    disk.snapshot("a")
    with nbd.Server(disk.reference("a")) as server:
        with server.connect("a") as handle:
            handle.pread(512, 0)
            state = f"{server.folder.name}/state"
            refused(cli.nbdsnap("delete", disk.reference("a"), state=state), 3, "a")
            handle.pread(512, 0)
    disk.delete("a")
    check_clean(disk)


def test_a_snapshot_deleted_by_hand_under_an_export_is_no_crash(disk):
    """Whoever has it open reads on or gets an I/O error; others are told."""
    disk.snapshot("a")
    disk.write(0, b"second")
    disk.snapshot("b")
    with nbd.Server(disk.reference()) as server:
        with server.connect("a") as handle:
            handle.pread(512, 0)
            disk.remove_by_hand("a")
            for at in range(0, 64 * KIB, 4096):
                try:
                    assert bytes(handle.pread(4096, at)) == disk.truth["a"][at:at + 4096]
                except libnbd.Error as error:
                    assert error.errno == "EIO"
        with pytest.raises(libnbd.Error), server.connect("a..b") as handle:
            nbd.block_status(handle, 4096, 0)
        with server.connect("b") as handle:
            assert bytes(handle.pread(64 * KIB, 0)) == disk.truth["b"]
    refused(disk.nbdsnap("diff", disk.reference("a..b")), 5, "a")
    refused(disk.nbdsnap("show", disk.reference("a")), 1, "a")
    assert disk.names() == ["b"]
    disk.delete("b")
    check_clean(disk)


def test_a_snapshot_that_was_written_to_is_another_one(disk):
    """Somebody made it writable, wrote, and made it read-only again."""
    disk.snapshot("a")
    before = disk.answer("show", disk.reference("a"))
    path = disk.snapshot_path("a")
    disk.write(0, b"second")
    disk.snapshot("b")
    writable = ["btrfs", "property", "set", "-f", path.parent, "ro"]
    if disk.kind == "btrfs":
        tools.run([*writable, "false"])
        assert "a" not in disk.names()
    with open(path, "r+b") as file:
        file.write(b"forged")
    if disk.kind == "btrfs":
        tools.run([*writable, "true"])
        refused(disk.nbdsnap("diff", disk.reference("a..b")), 5, "was changed")
    after = disk.answer("show", disk.reference("a"))
    assert after["id"] != before["id"]
    assert disk.diff("a", "b")["extents"][0]["offset"] == 0


# ---- paths ----

ODD = ["a@b", "a#b", "100%25", "sp ace", "line\nfeed", "-n", "'\"$(x)`\\", "ü\udcff",
       "x" * 200, "a.b,c=d;e:f"]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_path_is_a_path(place, tmp_path, name):
    disk = new_disk(place, name=name)
    disk.snapshot("a")
    disk.write(8192, b"changed")
    assert disk.names() == ["a"]
    assert [e["offset"] for e in disk.diff("a", "live")["extents"]] == [8192]
    with nbd.Server(disk.reference("a")) as server:
        assert nbd.full_copy(server.uri(), tmp_path) == disk.truth["a"]
    disk.delete("a")
    check_clean(disk)


def test_a_symbolic_link_is_the_file_it_names(place, tmp_path):
    disk = new_disk(place)
    link = tmp_path / "link"
    link.symlink_to(disk.path)
    disk.snapshot("a")
    through = f"{disk.kind}:{link}"
    listed = disk.answer("list", through)["volumes"][0]["snapshots"]
    assert [s["name"] for s in listed] == ["a"]
    disk.write(0, b"changed")
    assert disk.answer("diff", f"{through}@a..live")["dirty_bytes"] == 4096
    refused(disk.nbdsnap("create", disk.reference(), through), 2, "same volume")
    refused(disk.nbdsnap("create", "-n", "a", through), 1, "exists")
    disk.done("-q", "delete", f"{through}@a")
    assert os.listdir(tmp_path) == ["link"]
    check_clean(disk)


def test_hard_links_are_volumes_of_their_own(disk):
    other = disk.folder / "other.raw"
    os.link(disk.path, other)
    reference = f"{disk.kind}:{other}"
    disk.snapshot("a")
    listed = disk.answer("list", reference)["volumes"][0]["snapshots"]
    assert not any(s["ours"] for s in listed)
    made = disk.nbdsnap("create", "-n", "b", disk.reference(), reference)
    assert made.returncode in (0, 4), made.stderr
    disk.write(0, b"changed")
    assert disk.answer("diff", f"{reference}@b..live")["dirty_bytes"] == 4096
    disk.delete("a", "b")
    assert disk.answer("diff", f"{reference}@b..live")["dirty_bytes"] == 4096
    disk.done("-q", "delete", f"{reference}@b")
    check_clean(disk)


# ---- sizes ----

@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4095, 4096, 4097, 65537])
def test_an_odd_size_is_kept_to_the_byte(place, tmp_path, size):
    disk = new_disk(place, size)
    disk.write(0, os.urandom(size))
    disk.snapshot("a")
    assert disk.answer("show", disk.reference("a"))["size"] == size
    with nbd.Server(disk.reference("a")) as server:
        copy = nbd.full_copy(server.uri(), tmp_path)
    assert copy == disk.truth["a"] + bytes(-size % 512)
    disk.resize(size + 1)
    disk.write(size, b"!")
    disk.snapshot("b")
    grown = disk.diff("a", "b")
    assert grown["size"] == size + 1 and grown["from_size"] == size
    assert sum(e["length"] for e in grown["extents"]) == grown["dirty_bytes"] <= size + 1
    assert grown["extents"][-1]["offset"] + grown["extents"][-1]["length"] == size + 1
    shrunk = disk.diff("b", "a")
    assert shrunk["size"] == size
    assert all(e["offset"] + e["length"] <= size for e in shrunk["extents"])
    disk.delete("a", "b")
    check_clean(disk)


# ---- other files in the same place ----

@pytest.mark.parametrize("how", ["rename", "unlink"])
def test_a_replaced_file_needs_a_full_copy(disk, how):
    disk.snapshot("a")
    content = disk.content()
    if how == "rename":
        new = disk.folder / "new"
        new.write_bytes(content)
        new.rename(disk.path)
    else:
        disk.path.unlink()
        disk.path.write_bytes(content)
    refused(disk.nbdsnap("diff", disk.reference("a..live")), 5, "replaced")
    disk.snapshot("b")
    refused(disk.nbdsnap("diff", disk.reference("a..b")), 5, "replaced")
    with nbd.Server(disk.reference()) as server:
        assert "a..b" not in nbd.exports(server)
    disk.delete("a", "b")
    check_clean(disk)


def test_a_nested_subvolume_has_snapshots_of_its_own(btrfs, tmp_path):
    outer = new_disk(("btrfs", btrfs))
    folder = filesystems.subvolume(outer.folder / "inner")
    inner = file_disk.FileDisk("btrfs", folder, 64 * KIB, state=outer.state)
    inner.write(0, b"inner")
    outer.snapshot("o")
    assert inner.names() == []
    inner.snapshot("i")
    assert outer.names() == ["o"] and inner.names() == ["i"]
    assert not (outer.snapshot_path("o").parent / "inner" / "disk.raw").exists()
    # A set over both is cut one after another.
    result = outer.nbdsnap("create", "-n", "s", outer.reference(), inner.reference())
    assert result.returncode == 4, result.stderr
    refused(outer.nbdsnap("create", "--atomic", outer.reference(), inner.reference()), 1,
            "one instant")
    outer.delete("o", "s")
    inner.delete("i", "s")
    check_clean(outer)
    check_clean(inner)


def test_a_file_in_a_nested_mount_belongs_to_what_is_mounted(btrfs, xfs):
    outer = new_disk(("btrfs", btrfs))
    inner = new_disk(("reflink", xfs))
    at = outer.folder / "mnt"
    at.mkdir()
    tools.run(["mount", "--bind", inner.folder, at])
    reference = f"{at / 'disk.raw'}"
    outer.snapshot("o")
    outer.done("-q", "create", "-n", "i", reference)
    assert inner.names() == ["i"] and outer.names() == ["o"]
    outer.done("-q", "delete", f"{reference}@i")
    tools.run(["umount", at])
    outer.delete("o")
    check_clean(outer)
    check_clean(inner)


def test_a_subvolume_that_is_mounted_alone_is_found(btrfs, tmp_path):
    """By another path, without the file system's own top."""
    disk = new_disk(("btrfs", btrfs))
    device = tools.run(["findmnt", "-n", "-o", "SOURCE", btrfs.path]).strip()
    at = tmp_path / "alone"
    at.mkdir()
    tools.run(["mount", "-o", f"subvol={disk.folder.name}", device, at])
    disk.snapshot("a")
    listed = disk.answer("list", f"btrfs:{at / 'disk.raw'}")["volumes"][0]["snapshots"]
    assert [s["name"] for s in listed] == ["a"]
    disk.done("-q", "delete", f"btrfs:{at / 'disk.raw'}@a")
    tools.run(["umount", at])
    check_clean(disk)


# ---- several at once ----

def test_two_that_create_and_delete_in_one_place_do_not_fail_each_other(disk):
    """Each removes the reserved directory whenever it is empty."""
    script = 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do "$@" create -n "s$i" "$disk" &&' \
             ' "$@" diff "$disk@s$i..live" && "$@" delete "$disk@s$i" || exit 1; done'
    workers = []
    for name in ("x.raw", "y.raw", "z.raw"):
        (disk.folder / name).write_bytes(b"x" * 10000)
        workers.append(subprocess.Popen(
            ["sh", "-c", script, "sh", *cli.command("-q", state=str(disk.state))],
            env=dict(os.environ, disk=f"{disk.kind}:{disk.folder / name}"),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    failures = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], failures
    check_clean(disk)


def test_a_directory_that_is_removed_just_before_its_use_is_made_again():
    """What the race above comes to, at will."""
    file_sets.require()
    bed = file_sets.make("XFS, one directory")
    results = []
    for _, call, result in bed.faults("create", "-n", "s", *bed.references(),
                                      errno=errno.ENOENT):
        if call == "mkdirat":
            results.append(result.returncode)
        bed.nbdsnap("doctor")
        bed.clear()
    # The directory itself is made under a lock; then one for each file.
    assert results == [1, 4, 4]
    bed.filesystem.unmount()


# ---- leaks ----

def test_nothing_is_leaked_on_the_way(disk):
    """Under valgrind: a set that is made, compared, and deleted; and refusals."""
    tools.require("valgrind")
    if disk.kind == "btrfs":
        return  # valgrind does not know openat2, which it is opened with
    valgrind = ["valgrind", "--quiet", "--leak-check=full", "--error-exitcode=99",
                "--errors-for-leak-kinds=definite", "--track-fds=yes",
                f"--suppressions={tools.TOP / 'tests' / 'valgrind.supp'}"]
    if nbd.sanitizer_libraries():
        pytest.skip("a sanitizer is at work already")

    def run(*arguments, code=0):
        result = subprocess.run(
            [*valgrind, *cli.command(*arguments, state=str(disk.state))],
            capture_output=True, text=True, timeout=120)
        assert result.returncode == code, result.stderr
        assert "definitely lost" not in result.stderr
        return result

    run("create", "-n", "a", disk.reference())
    disk.write(0, b"changed")
    run("diff", disk.reference("a..live"))
    run("list", disk.reference())
    run("create", "-n", "a", disk.reference(), code=1)
    run("diff", disk.reference("none..live"), code=5)
    disk.path.rename(disk.folder / "away")
    disk.path.write_bytes(b"x")
    run("diff", disk.reference("a..live"), code=5)
    run("delete", disk.reference("a"))
    foreign_directory(disk.folder / ".nbdsnap")
    run("create", disk.reference(), code=1)
