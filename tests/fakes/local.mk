# SPDX-License-Identifier: LGPL-2.1-or-later
# Faults that real parts do not produce on demand.
check_LTLIBRARIES += fault-at-change.la keep-locale.la kill-at-write.la \
	other-device.la run-at-search.la tell-tsan.la
fault_at_change_la_SOURCES = %D%/fault-at-change.c
fault_at_change_la_CFLAGS = -Wall
fault_at_change_la_LDFLAGS = -module -avoid-version -rpath /nowhere
keep_locale_la_SOURCES = %D%/keep-locale.c
keep_locale_la_CFLAGS = -Wall
keep_locale_la_LDFLAGS = -module -avoid-version -rpath /nowhere
kill_at_write_la_SOURCES = %D%/kill-at-write.c
kill_at_write_la_CFLAGS = -Wall
kill_at_write_la_LDFLAGS = -module -avoid-version -rpath /nowhere
other_device_la_SOURCES = %D%/other-device.c
other_device_la_CFLAGS = -Wall
other_device_la_LDFLAGS = -module -avoid-version -rpath /nowhere
run_at_search_la_SOURCES = %D%/run-at-search.c
run_at_search_la_CFLAGS = -Wall
run_at_search_la_LDFLAGS = -module -avoid-version -rpath /nowhere
tell_tsan_la_SOURCES = %D%/tell-tsan.c
tell_tsan_la_CFLAGS = -Wall
tell_tsan_la_LDFLAGS = -module -avoid-version -rpath /nowhere

# Not a library: an owner of a guard.
check_PROGRAMS += %D%/own-guard
%C%_own_guard_SOURCES = %D%/own-guard.c
%C%_own_guard_LDADD = $(SNAP_CORE_LIBS) $(JSON_GLIB_LIBS) $(GLIB_LIBS)

check_PROGRAMS += %D%/drive-qemu
%C%_drive_qemu_SOURCES = %D%/drive-qemu.c
%C%_drive_qemu_LDADD = $(SNAP_CORE_LIBS) $(JSON_GLIB_LIBS) $(GLIB_LIBS)

check_PROGRAMS += %D%/many-diffs
%C%_many_diffs_SOURCES = %D%/many-diffs.c
%C%_many_diffs_LDADD = libsnap-cli.la libsnap-nbd-server.la $(SNAP_CORE_LIBS) \
	$(JSON_GLIB_LIBS) $(GLIB_LIBS)

check_PROGRAMS += %D%/lvm-client
%C%_lvm_client_SOURCES = %D%/lvm-client.c
%C%_lvm_client_CFLAGS = -Wall
%C%_lvm_client_LDFLAGS = -all-static
