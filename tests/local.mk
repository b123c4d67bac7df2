# SPDX-License-Identifier: LGPL-2.1-or-later
EXTRA_DIST += %D%/valgrind.supp
include %D%/fakes/local.mk
include %D%/unit/local.mk
include %D%/fuzz/local.mk
include %D%/py/local.mk
include %D%/lvm/local.mk
include %D%/guest/local.mk
include %D%/bench/local.mk

# Those that `make check-full` starts first, the longest first; ./check prints
# how long they took.  Guests wait for themselves now and then, so what wants
# a whole processor stands between them.
SNAP_LONGEST = \
	%D%/lvm/histories.list \
	%D%/lvm/behaviour.list \
	%D%/py/test_files_traps.py \
	%D%/py/test_qcow2_history.py \
	%D%/py/test_files_history.py \
	%D%/py/test_files_kill.py \
	%D%/py/test_lvm_bed.py \
	%D%/py/test_files_mutants.py \
	%D%/py/test_files_bad_input.py \
	%D%/py/test_kill.py \
	%D%/py/test_files_recovery.py \
	%D%/py/test_qcow2_mutants.py \
	%D%/py/test_thin_mutants.py
