# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets of a running guest whose disks are logical volumes, one thin and one
plain: the guest is stopped and the thin volume suspended in one window, and
every set is of one instant by what the guest's writer left."""

import os

import pytest

from snaplib import guest_check, guest_disks, guest_sets, lvm
from snaplib.guest import Guest

MIB = 1 << 20
SETS = int(os.environ.get("NBDSNAP_LVM_GUEST_SETS", 12))


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    with lvm.Group(tmp_path_factory.mktemp("group"), size=384 * MIB) as made:
        yield made


@pytest.fixture(scope="module")
def volumes(group):
    thin = group.pool(size=128 * MIB).volume("thin", guest_disks.SIZE)
    return [thin, group.volume("plain-1", guest_disks.SIZE)]


@pytest.fixture(scope="module")
def sets(volumes, tmp_path_factory):
    disks = [guest_disks.raw(volume.path, number) for number, volume in enumerate(volumes)]
    # There may be one processor for all, and who cuts needs it, too.
    with Guest(disks, agent=False, delay_us=10000, memory=128) as guest:
        print(f"TABLE a guest on logical volumes said: {guest.wait_serial('BOOTED .*')[0].strip()}")
        yield guest_sets.Sets(guest, tmp_path_factory.mktemp("sets"))


def devices(group, volumes, name):
    """Those of a set's snapshots, activated."""
    rows = group.lvs("lv_name,lv_uuid,lv_tags")
    found = {}
    for lv, row in rows.items():
        tags = dict(tag.split("=", 1) for tag in row["lv_tags"].split(",") if "=" in tag)
        if tags.get("nbdsnap.name") == name:
            found[tags["nbdsnap.origin"]] = f"{group.name}/{lv}"
    snapshots = [found[rows[volume.name]["lv_uuid"]] for volume in volumes]
    lvm.command("lvchange", "-q", "-q", "-ay", "-K", *snapshots)
    return [f"/dev/{snapshot}" for snapshot in snapshots]


def test_sets_in_a_row_are_of_one_instant(group, volumes, sets):
    stopped, newest = [], 0
    for number in range(SETS):
        known = sets.guest.records()
        made = sets.create(f"s{number}", quiesce="pause")
        assert (made["consistency"], made["quiesce"]) == ("atomic", "pause")
        assert not [d for d in group.devices() if lvm.devmapper.suspended(d)]
        sets.guest.assert_runs()
        seen = guest_check.check(devices(group, volumes, f"s{number}"), at_least=known)
        assert seen[0] > newest or number == 0
        newest = seen[0]
        sets.delete(made)
        stopped.append(made["stopped_us"] / 1000)
        print(f"TABLE set {number} of a guest on a thin and a plain volume: whole, records "
              f"{seen}, it stood still for {stopped[-1]:.0f} ms", flush=True)
    print(f"TABLE {SETS} sets of a writing guest on a thin and a plain volume: all of one "
          f"instant; it stood still for {sorted(stopped)[SETS // 2]:.0f} ms (median)")


def test_disks_of_two_instants_are_seen(group, volumes, sets):
    """So the check can fail."""
    made = sets.create("torn", quiesce="pause")
    first, _ = devices(group, volumes, "torn")
    sets.guest.wait_for_records(10)
    sets.guest.qmp("stop")
    try:
        with pytest.raises(guest_check.Torn):
            guest_check.check([first, volumes[1].path])
    finally:
        sets.guest.qmp("cont")
    sets.delete(made)
