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

# Too slow in user-mode-linux for ./check; by hand, as README.md says.
SNAP_LVM_SLOW = \
	%D%/test_contract.py \
	%D%/test_guest_bed.py \
	%D%/test_lvm_classic_history.py \
	%D%/test_lvm_history.py \
	%D%/test_lvm_sets.py

SNAP_PY_FULL += $(SNAP_LVM_TESTS)
EXTRA_DIST += $(SNAP_LVM_TESTS) $(SNAP_LVM_SLOW) \
	%D%/README.md %D%/broken_drivers.py %D%/guest-init %D%/run \
	tests/py/test_lvm_mutants.py
