# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of two volumes are cut at one instant, shown by a writer that stamps
them in turn.  broken_drivers.py shows that it would be seen if they were not.
"""

import os

import pytest

from snaplib import lvm, lvm2
from snaplib.cli import done
from snaplib.lvm_sets import SIZE, Stamper, stamps, torn

MIB = 1 << 20
SETS = int(os.environ.get("NBDSNAP_LVM_SETS", 50))


@pytest.fixture
def group(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lvm2.Server(tmp_path), lvm.Group(tmp_path, size=500 * MIB) as made:
        yield made


def cut_and_judge(group, volumes, n):
    """n sets, each after the writer has stamped again."""
    names = [f"set{i}" for i in range(n)]
    with Stamper(volumes, pause=0.005) as writer:
        for name in names:
            writer.wait()
            done("create", "-n", name, *(f"lvm:{volume.reference}" for volume in volumes))
    found = list(stamps(group, names, volumes).values())
    assert not any(map(torn, found)), found
    # Each is of its own time: not of the placeholder, nor of a set before.
    assert found == sorted(found) and len({first for first, _ in found}) == n, found
    return len(found)


def test_no_set_in_one_pool_is_torn(group):
    pool = group.pool(size=128 * MIB)
    n = cut_and_judge(group, [pool.volume("first", SIZE), pool.volume("second-1", SIZE)],
                      SETS - SETS // 2)
    print(f"TABLE sets cut in one pool while written to: {n} whole of {n}")


def test_no_set_over_two_pools_is_torn(group):
    volumes = [group.pool("pool-1", size=96 * MIB).volume("first", SIZE),
               group.pool("pool-2", size=96 * MIB, chunk=256 << 10).volume("second-1", SIZE)]
    n = cut_and_judge(group, volumes, SETS // 2)
    print(f"TABLE sets cut in two pools while written to: {n} whole of {n}")
