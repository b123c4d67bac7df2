# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes that the metadata of btrfs or XFS may hide, one function each; see
trap_disk for how they are read.

"more" is how many blocks are reported that did not change: 0 unless the
storage cannot know better.
"""

from snaplib import trap_disk
from snaplib.traps import holes, leaves, places, shared, sizes, written

ALL = [trap for module in (written, holes, sizes, leaves, shared, places)
       for trap in trap_disk.all_of(module)]
