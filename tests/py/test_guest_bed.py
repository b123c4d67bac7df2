# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bed for tests on running guests, itself: if one of these fails, what the
others say means nothing."""

import shutil

import pytest

from snaplib import guest_check, guest_disks, qmp
from snaplib.guest import Guest


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disks")
    disks = [guest_disks.qcow2(folder / "a.qcow2", 0), guest_disks.raw(folder / "b.raw", 1)]
    with Guest(disks) as booted:
        yield booted


def test_it_boots_and_its_writer_gets_on(guest):
    guest.assert_runs_and_thawed()
