#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ./demo --guest shows: a running guest with a disk on btrfs and one in a
qcow2 image, cut at one instant while it writes, backed up in full and
incrementally by stock clients, and restored.  Usage: demo.py FOLDER"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "py"))

from snaplib import cli, guest_check, guest_sets, nbd, tools  # noqa: E402


def say(text):
    print(f"\n{text}", flush=True)


def cut(sets, name):
    print(f"  $ nbdsnap create -n {name} --qmp vm.qmp --agent vm.qga", flush=True)
    before = sets.guest.records()
    made = sets.create(name)
    for reference in sets.references(made):
        print(f"  {pathlib.Path(reference).name}")
    print(f"  consistency: {made['consistency']}; file systems frozen for "
          f"{made['frozen_us'] / 1000:.1f} ms, processors stopped for "
          f"{made['stopped_us'] / 1000:.1f} ms")
    return made, before


def back_up(sets, made, name, base, images):
    """A copy of each disk, full or upon the one of @base."""
    rows = []
    for number, reference in enumerate(sets.references(made)):
        volume = reference.rsplit("@", 1)[0]
        wanted = f"{base}..{name}" if base else name
        target = sets.folder / f"disk{number}-{name}.qcow2"
        below = ["-B", images[number], "-F", "qcow2"] if base else []
        started = time.monotonic()
        with nbd.Server(f"volume={volume}@{wanted}") as server:
            tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *below,
                       server.uri(wanted), target])
        rows.append((f"disk{number} {wanted}", target, time.monotonic() - started))
    return rows


def restore(sets, rows):
    restored = []
    for number, (_, image, _) in enumerate(rows):
        raw = sets.folder / f"restored{number}"
        tools.run(["qemu-img", "convert", "-O", "raw", image, raw])
        restored.append(raw)
    return restored


def main(folder):
    say("An emulated guest boots: its first disk is a raw file on btrfs, its second a qcow2 image.\n"
        "A program in it writes numbered records to both in turn.")
    with guest_sets.running(pathlib.Path(folder), "btrfs", "qcow2", delay_us=0) as sets:
        base, images, failed = None, None, False
        for name in ("mon", "tue", "wed"):
            say(f"{name}: both disks cut in one window")
            sets.guest.wait_for_records(20)
            made, before = cut(sets, name)
            rows = back_up(sets, made, name, base, images)
            with sets.images(made) as truth:
                restored = restore(sets, rows)
                equal = [tools.run(["cmp", ours, theirs]) == ""
                         for ours, theirs in zip(restored, truth)]
            newest = guest_check.check(restored, at_least=before)
            for (title, image, took), same in zip(rows, equal):
                print(f"  {title:<18} {image.stat().st_size / 2**20:7.1f} MiB "
                      f"{took * 1000:7.0f} ms   {'equal' if same else 'DIFFERENT'}")
                failed = failed or not same
            print(f"  restored: file systems whole, newest records {newest[0]} and {newest[1]}: "
                  "one instant")
            cli.done("ack", "-q", name, state=sets.state)
            base, images = name, [image for _, image, _ in rows]
        sets.guest.assert_runs_and_thawed()
        say("The guest runs, and its agent says: thawed.")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
