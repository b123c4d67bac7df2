# SPDX-License-Identifier: LGPL-2.1-or-later
# Faults that real parts do not produce on demand.
check_LTLIBRARIES += fault-at-change.la kill-at-write.la
fault_at_change_la_SOURCES = %D%/fault-at-change.c
fault_at_change_la_CFLAGS = -Wall
fault_at_change_la_LDFLAGS = -module -avoid-version -rpath /nowhere
kill_at_write_la_SOURCES = %D%/kill-at-write.c
kill_at_write_la_CFLAGS = -Wall
kill_at_write_la_LDFLAGS = -module -avoid-version -rpath /nowhere
