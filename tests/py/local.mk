# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests that drive the built programs as a user would.  `make check` runs the
# quick ones; `make check-full`, and ./check, run both lists.
SNAP_PY_QUICK =
SNAP_PY_FULL =

TESTS += $(SNAP_PY_QUICK)
TEST_EXTENSIONS = .py
PY_LOG_COMPILER = $(SHELL) $(srcdir)/%D%/run-pytest
EXTRA_DIST += %D%/run-pytest $(SNAP_PY_QUICK) $(SNAP_PY_FULL)
