# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests on real LVM, natively or in a guest; see README.md.  Each list is one
# test, whose files share one boot.  A file by itself is run as the other
# pytest files are, by tests/py/run-pytest, which hands it to `run`.
LIST_LOG_COMPILER = $(srcdir)/%D%/run
SNAP_LVM_LISTS = \
	%D%/behaviour.list \
	%D%/histories.list
SNAP_LVM_TESTS = \
	%D%/test_bed.py \
	%D%/test_contract.py \
	%D%/test_guard.py \
	%D%/test_lvm_activate.py \
	%D%/test_lvm_backup.py \
	%D%/test_lvm_classic_history.py \
	%D%/test_lvm_history.py \
	%D%/test_lvm_kill.py \
	%D%/test_lvm_sets.py \
	%D%/test_lvm_trouble.py \
	%D%/test_thin_metadata.py

# Too slow for ./check; by hand, as README.md says.
SNAP_LVM_SLOW = \
	%D%/test_guest_bed.py

SNAP_PY_FULL += $(SNAP_LVM_LISTS)
EXTRA_DIST += $(SNAP_LVM_LISTS) $(SNAP_LVM_TESTS) $(SNAP_LVM_SLOW) \
	%D%/README.md %D%/bed_qemu.py %D%/broken_drivers.py %D%/guest-init %D%/run \
	tests/py/test_lvm_mutants.py
