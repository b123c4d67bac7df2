# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of logical volumes are complete or absent, also after SIGKILL at any
step; nothing stays suspended, reserved, active or unknown to LVM.

Every change that nbdsnap, its guard or an lvm that changes something makes, and
every such lvm as a whole, is a kill point.  Each costs some seconds in
user-mode-linux: a short run takes some of every kind, with NBDSNAP_LONG all.
"""

import collections
import contextlib
import re
import signal

import nbd as libnbd
import pytest

from snaplib import guard, lvm, lvm_kill, nbd, tools


@pytest.fixture(scope="module", params=["thin", "classic"])
def bed(request, tmp_path_factory):
    yield from make_bed(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def thin(tmp_path_factory):
    yield from make_bed("thin", tmp_path_factory)


def make_bed(kind, tmp_path_factory):
    lvm.require()
    if not guard.SHIM.exists():
        tools.missing(f"{guard.SHIM} is not built")
    with lvm_kill.Bed(tmp_path_factory.mktemp("kill"), kind) as made:
        yield made


@contextlib.contextmanager
def at(point):
    """Say where, if something is wrong."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{point}: {error}") from error


def described(points):
    counts = collections.Counter(point.where.split()[0] for point in points)
    return ", ".join(f"{n} {where}" for where, n in sorted(counts.items()))


def summary(bed, what, chosen, everything, rest):
    print(f"TABLE {bed.kind}: {what} killed at {len(chosen)} of {len(everything)} points "
          f"({described(chosen)} of {described(everything)}): {rest}")


def recover(bed, n):
    """As a user may: by doctor, or by the next create and delete."""
    if n % 3:
        bed.nbdsnap("doctor")
    else:
        bed.nbdsnap("create", "-n", "next", *bed.references())
        bed.nbdsnap("delete", *bed.references("next"))


def test_a_create_that_is_killed_is_complete_or_absent(bed):
    outcomes = collections.Counter()
    everything = bed.points(bed.create)
    n_sets = bed.check()
    assert n_sets == 1
    chosen = lvm_kill.choose(everything)
    for n, point in enumerate(chosen):
        with at(point):
            result = bed.kill_at(point, bed.create)
            recover(bed, n)
            made = bed.check() - n_sets
            # One that says it is done is; one whose tool died says it is not.
            assert made in ((0, 1) if result.returncode == -signal.SIGKILL else
                            (1,) if result.returncode in (0, 4) else (0,)), result
            n_sets += made
            outcomes[made] += 1
    summary(bed, "create of 2", chosen, everything,
            f"{outcomes[0]} times absent, {outcomes[1]} times complete")
    assert outcomes[0] > 3


def test_a_delete_that_is_killed_is_complete_or_absent(thin):
    thin.nbdsnap("create", "-n", "d", *thin.references())
    n_sets = thin.check()

    def delete(**changes):
        return thin.run("delete", *thin.references("d"), **changes)

    outcomes = collections.Counter()
    everything = thin.points(delete)
    chosen = lvm_kill.choose(everything)
    there = False
    for n, point in enumerate(chosen):
        if not there:
            thin.nbdsnap("create", "-n", "d", *thin.references())
        with at(point):
            result = thin.kill_at(point, delete)
            thin.nbdsnap("doctor")
            left = thin.check()
            there = left == n_sets
            assert left in (n_sets, n_sets - 1)
            assert not (there and result.returncode == 0)
            outcomes[there] += 1
    if there:
        thin.nbdsnap("delete", *thin.references("d"))
    summary(thin, "delete of 2", chosen, everything,
            f"{outcomes[False]} times absent, {outcomes[True]} times complete")
    assert outcomes[False] > 1


def let_go(bed, question):
    """Between the reservation and the note of which it is, it could be anybody's:
    whoever comes next is told how to let go of it."""
    for arguments in (question, ["doctor"]):
        result = bed.nbdsnap(*arguments, codes=(3, 9))
        command = re.search("`(dmsetup message .* release_metadata_snap)`", result.stderr)
        assert command, result.stderr
    assert bed.pool.status().held_root != 0
    lvm.command(*command[1].split())


def test_a_diff_that_is_killed_leaves_nothing_for_long(thin):
    """Gone with the next diff, doctor or create; and in nobody's way until
    then."""
    thin.nbdsnap("create", "-n", "d1", *thin.references())
    thin.volumes[0].fill(0, 4096, 9)
    thin.nbdsnap("create", "-n", "d2", *thin.references())
    question = ["diff", "--format=totals", thin.references("d1..d2")[0]]
    answer = thin.nbdsnap(*question).stdout

    def diff(**changes):
        return thin.run(*question, **changes)

    held = 0
    everything = thin.points(diff)
    # All that the short run leaves out is before anything is reserved.
    reserved = next(i for i, point in enumerate(everything) if point.call == "ioctl")
    unknown = everything[reserved + 1]
    assert unknown.call == "pwrite"
    chosen = everything if lvm_kill.LONG else everything[reserved - 2:]
    for n, point in enumerate(chosen):
        with at(point):
            assert thin.kill_at(point, diff).returncode == -signal.SIGKILL
            held += thin.pool.status().held_root != 0
            if point == unknown:
                let_go(thin, question)
            if n % 2:
                assert thin.nbdsnap(*question).stdout == answer
            else:
                thin.nbdsnap("doctor")
            thin.check()
    thin.nbdsnap("delete", thin.references("d1")[0], thin.references("d1")[1],
                 *thin.references("d2"))
    summary(thin, "diff", chosen, everything,
            f"a metadata snapshot was left {held} times, and released by the next command")
    assert held > 0


def test_a_server_that_is_killed_leaves_nothing_active_for_long(thin):
    thin.volumes[0].fill(0, 4096, 5)
    thin.nbdsnap("create", "-n", "e", *thin.references())

    def serve(**changes):
        """Start, read a little, end: whatever of that it lives to do."""
        environment = thin.environment(**changes)
        try:
            server = nbd.Server(thin.references("e")[0], env=environment)
        except RuntimeError:
            return None
        with contextlib.suppress(libnbd.Error):
            with server.connect() as handle:
                assert handle.pread(4096, 0) == bytes([5]) * 4096
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(nbd.DEADLINE)
        return server.process.returncode

    left = 0
    everything = thin.points(serve, program="nbdkit")
    thin.check()
    chosen = lvm_kill.choose(everything)
    for point in chosen:
        with at(point):
            thin.kill_at(point, serve)
            # What an lvm that outlived its server is at work on is in use.
            thin.wait_for_all()
            left += sorted(thin.group.devices()) != thin.devices
            thin.nbdsnap("doctor")
            thin.check()
    summary(thin, "a server", chosen, everything,
            f"a snapshot was left active {left} times, and deactivated by doctor")
    assert left > 0
