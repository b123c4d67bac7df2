# SPDX-License-Identifier: LGPL-2.1-or-later
"""A writer that stamps volumes in turn, and what it left in sets of them."""

import os
import struct
import threading

from snaplib import lvm

SIZE = 8 << 20


class Stamper(threading.Thread):
    """Writes one number to each volume in turn, then the next number.  As a
    guest would it keeps them open: their names come and go as LVM works."""

    def __init__(self, volumes, pause=0.001):
        """There may be one processor, and who cuts needs it, too: hence the
        pause, in seconds."""
        super().__init__()
        self.devices = [lvm.open_direct(volume.path) for volume in volumes]
        self.stopping = threading.Event()
        self.number = 0
        self.pause = pause

    def run(self):
        while not self.stopping.wait(self.pause):
            self.number += 1
            for device in self.devices:
                lvm.write_to(device, 0, struct.pack("<Q", self.number) * 512)

    def wait(self):
        """Until there is a stamp that no set before can have."""
        seen = self.number
        while self.number < seen + 2:
            assert self.is_alive()
            self.stopping.wait(0.005)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()
        for device in self.devices:
            os.close(device)


def stamp(path):
    return struct.unpack("<Q", lvm.read_direct(path, 0, 4096)[:8])[0]


def torn(stamps):
    """The second volume is stamped after the first."""
    return not 0 <= stamps[0] - stamps[1] <= 1


def stamps(group, names, volumes):
    """{set: the stamps in its snapshots of these volumes}."""
    rows = group.lvs("lv_name,lv_uuid,lv_tags")
    uuids = [rows[volume.name]["lv_uuid"] for volume in volumes]
    found = {name: [None] * len(volumes) for name in names}
    for lv, row in rows.items():
        tags = dict(tag.split("=", 1) for tag in row["lv_tags"].split(",") if "=" in tag)
        if tags.get("nbdsnap.name") in found:
            at = uuids.index(tags["nbdsnap.origin"])
            found[tags["nbdsnap.name"]][at] = f"{group.name}/{lv}"
    every = [lv for pair in found.values() for lv in pair]
    lvm.command("lvchange", "-q", "-q", "-ay", "-K", *every)
    return {name: [stamp(f"/dev/{lv}") for lv in pair] for name, pair in found.items()}
