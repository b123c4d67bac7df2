# SPDX-License-Identifier: LGPL-2.1-or-later
"""A qcow2 disk whose true content is known byte by byte."""

from snaplib import tools

CLUSTER = 64 * 1024


class Disk:
    """Writes go to the image and to a model; a snapshot keeps the model.

    The truth is what was written, not what some tool reads back.
    """

    def __init__(self, path, size=2 << 20, options=()):
        self.path = path
        self.truth = {}
        self.model = bytearray(size)
        self.commands = []
        tools.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, size])

    def write(self, offset, length, pattern):
        """A pattern of 0 writes zeroes as data."""
        self.commands.append(f"write -q -P {pattern} {offset} {length}")
        self.model[offset:offset + length] = bytes([pattern]) * length

    def zero(self, offset, length):
        self.commands.append(f"write -q -z {offset} {length}")
        self.model[offset:offset + length] = bytes(length)

    def discard(self, offset, length):
        """Whole clusters, without a backing file: they read as zeroes."""
        self.commands.append(f"discard -q {offset} {length}")
        self.model[offset:offset + length] = bytes(length)

    def resize(self, size):
        self.flush()
        tools.run(["qemu-img", "resize", "-q", "-f", "qcow2", "--shrink",
                   self.path, size])
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def flush(self):
        if self.commands:
            arguments = [word for c in self.commands for word in ("-c", c)]
            tools.run(["qemu-io", "-d", "unmap", "-f", "qcow2", *arguments, self.path])
        self.commands = []

    def snapshot(self, name):
        self.flush()
        tools.run(["qemu-img", "snapshot", "-c", name, self.path])
        self.truth[name] = bytes(self.model)

    def changed(self, base, name, unit=CLUSTER):
        """Offsets of the units in which two snapshots really differ; past the
        end of the older one all do."""
        old, new = self.truth[base], self.truth[name]
        return [at for at in range(0, len(new), unit)
                if old[at:min(at + unit, len(new))] != new[at:at + unit]]
