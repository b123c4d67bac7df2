# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose disks are logical volumes boots here, and its disks are judged
like any other's."""

import pytest

from snaplib import guest_check, guest_disks, lvm
from snaplib.guest import Guest

MIB = 1 << 20


@pytest.fixture
def group(tmp_path):
    with lvm.Group(tmp_path, size=384 * MIB) as made:
        yield made


def test_a_guest_runs_on_a_thin_volume_and_a_plain_one(group):
    thin = group.pool(size=128 * MIB).volume("thin", guest_disks.SIZE)
    plain = group.volume("plain", guest_disks.SIZE)
    disks = [guest_disks.raw(volume.path, number) for number, volume in enumerate((thin, plain))]
    with Guest(disks) as guest:
        print(f"TABLE a guest on logical volumes said: {guest.wait_serial('BOOTED .*')[0].strip()}")
        guest.assert_runs_and_thawed()
        known = guest.records()
        guest.qmp("stop")
        snapshots = [thin.snapshot("thin-1", "-pr", "-kn"),
                     plain.snapshot("plain-1", "-pr", "-L", "16M")]
        guest.qmp("cont")
        guest.wait_for_records(10)
        newest = guest_check.check([snapshot.path for snapshot in snapshots], at_least=known)
        assert newest[0] < guest.records()
        with pytest.raises(guest_check.Torn):
            guest.wait_for_records(10)
            guest.qmp("stop")
            guest_check.check([snapshots[0].path, plain.path])
