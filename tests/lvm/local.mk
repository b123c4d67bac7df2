# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests on real LVM, natively or in user-mode-linux; see README.md.  Run as the
# other pytest files are, by tests/py/run-pytest, which hands them to `run`.
SNAP_LVM_TESTS = \
	%D%/test_bed.py \
	%D%/test_guard.py \
	%D%/test_lvm_activate.py \
	%D%/test_lvm_backup.py \
	%D%/test_lvm_kill.py \
	%D%/test_lvm_trouble.py \
	%D%/test_thin_metadata.py

SNAP_PY_FULL += $(SNAP_LVM_TESTS)
EXTRA_DIST += %D%/README.md %D%/guest-init %D%/run $(SNAP_LVM_TESTS)
