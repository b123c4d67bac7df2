# SPDX-License-Identifier: LGPL-2.1-or-later
"""A plugin of pytest: when bytes are not equal, say where, and no more.

pytest looks for the least difference of what it compares, and where CI is set or
it is verbose, of any length: for some MiB of a disk that takes hours.  Its hook
for explanations only adds to its own, which is why that is replaced.
"""

from _pytest.assertion import util

MANY = 1000

_explain = util.assertrepr_compare


def first_difference(left, right):
    for at in range(0, min(len(left), len(right)), MANY):
        if left[at:at + MANY] != right[at:at + MANY]:
            return next(at + i for i, (a, b) in enumerate(
                zip(left[at:at + MANY], right[at:at + MANY])) if a != b)
    return min(len(left), len(right))


def explain(config, op, left, right, **more):
    if op == "==" and all(isinstance(side, (bytes, bytearray)) for side in (left, right)) \
            and len(left) + len(right) > MANY:
        return [f"{len(left)} bytes == {len(right)} bytes",
                f"They differ at {first_difference(left, right)}"]
    return _explain(config, op, left, right, **more)


util.assertrepr_compare = explain
