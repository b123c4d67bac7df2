# SPDX-License-Identifier: LGPL-2.1-or-later
# Unit tests: pure code, no root, no network, no storage tool.
SNAP_UNIT_TESTS =
SNAP_UNIT_LIBS = $(SNAP_CORE_LIBS) $(JSON_GLIB_LIBS) $(GLIB_LIBS)
# One that hangs must not keep the others from being seen.
LOG_COMPILER = timeout -k 10 600
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh

# ---- one block a test, sorted by name ----

SNAP_UNIT_TESTS += %D%/test-btrfs-diff
%C%_test_btrfs_diff_SOURCES = %D%/test-btrfs-diff.c \
	%D%/btrfs-model.c %D%/btrfs-model.h
%C%_test_btrfs_diff_LDADD = $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-btrfs-item
%C%_test_btrfs_item_SOURCES = %D%/test-btrfs-item.c
%C%_test_btrfs_item_LDADD = $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-fiemap
%C%_test_fiemap_SOURCES = %D%/test-fiemap.c
%C%_test_fiemap_LDADD = $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-bytes
%C%_test_bytes_SOURCES = %D%/test-bytes.c
%C%_test_bytes_LDADD = libsnap-base.la $(GLIB_LIBS)

SNAP_UNIT_TESTS += %D%/test-cli-exit-codes
%C%_test_cli_exit_codes_SOURCES = %D%/test-cli-exit-codes.c
%C%_test_cli_exit_codes_LDADD = libsnap-cli.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-cli-json
%C%_test_cli_json_SOURCES = %D%/test-cli-json.c
%C%_test_cli_json_LDADD = libsnap-cli.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-cli-strip
%C%_test_cli_strip_SOURCES = %D%/test-cli-strip.c
%C%_test_cli_strip_LDADD = libsnap-cli.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-cli-text
%C%_test_cli_text_SOURCES = %D%/test-cli-text.c
%C%_test_cli_text_LDADD = libsnap-cli.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-command
%C%_test_command_SOURCES = %D%/test-command.c
%C%_test_command_LDADD = libsnap-os.la libsnap-base.la $(GLIB_LIBS)

SNAP_UNIT_TESTS += %D%/test-extents
%C%_test_extents_SOURCES = %D%/test-extents.c
%C%_test_extents_LDADD = libsnap-base.la $(GLIB_LIBS)

SNAP_UNIT_TESTS += %D%/test-fd
%C%_test_fd_SOURCES = %D%/test-fd.c
%C%_test_fd_LDADD = libsnap-os.la libsnap-base.la $(GLIB_LIBS)

SNAP_UNIT_TESTS += %D%/test-parallel
%C%_test_parallel_SOURCES = %D%/test-parallel.c
%C%_test_parallel_LDADD = libsnap-base.la $(GLIB_LIBS)

SNAP_UNIT_TESTS += %D%/test-nbd-ahead
%C%_test_nbd_ahead_SOURCES = %D%/test-nbd-ahead.c
%C%_test_nbd_ahead_LDADD = libsnap-nbd-server.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-nbd-handshake
%C%_test_nbd_handshake_SOURCES = %D%/test-nbd-handshake.c \
	%D%/nbd-offer.c %D%/nbd-offer.h
%C%_test_nbd_handshake_LDADD = libsnap-nbd-server.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-nbd-protocol
%C%_test_nbd_protocol_SOURCES = %D%/test-nbd-protocol.c
%C%_test_nbd_protocol_LDADD = libsnap-nbd-server.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-nbd-runs
%C%_test_nbd_runs_SOURCES = %D%/test-nbd-runs.c
%C%_test_nbd_runs_LDADD = libsnap-nbd-server.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-nbd-source
%C%_test_nbd_source_SOURCES = %D%/test-nbd-source.c
%C%_test_nbd_source_LDADD = libsnap-os.la libsnap-base.la $(GLIB_LIBS)
SNAP_UNIT_TESTS += %D%/test-nbd-remote
%C%_test_nbd_remote_SOURCES = %D%/test-nbd-remote.c
%C%_test_nbd_remote_LDADD = libsnap-os.la libsnap-base.la $(GLIB_LIBS)
SNAP_UNIT_TESTS += %D%/test-qemu-name
%C%_test_qemu_name_SOURCES = %D%/test-qemu-name.c
%C%_test_qemu_name_LDADD = $(SNAP_UNIT_LIBS)

# Images written field by field, for the tests of the qcow2 parsers.
check_LTLIBRARIES += libtest-qcow2.la
libtest_qcow2_la_SOURCES = \
	%D%/qcow2-image.c %D%/qcow2-image.h \
	%D%/qcow2-model.c %D%/qcow2-model.h
libtest_qcow2_la_LIBADD = libsnap-format.la

SNAP_UNIT_TESTS += %D%/test-qcow2-bitmaps
%C%_test_qcow2_bitmaps_SOURCES = %D%/test-qcow2-bitmaps.c
%C%_test_qcow2_bitmaps_LDADD = libtest-qcow2.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-qcow2-diff
%C%_test_qcow2_diff_SOURCES = %D%/test-qcow2-diff.c
%C%_test_qcow2_diff_LDADD = libtest-qcow2.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-qcow2-header
%C%_test_qcow2_header_SOURCES = %D%/test-qcow2-header.c
%C%_test_qcow2_header_LDADD = libtest-qcow2.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-qcow2-layer
%C%_test_qcow2_layer_SOURCES = %D%/test-qcow2-layer.c
%C%_test_qcow2_layer_LDADD = libtest-qcow2.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-qcow2-snapshots
%C%_test_qcow2_snapshots_SOURCES = %D%/test-qcow2-snapshots.c
%C%_test_qcow2_snapshots_LDADD = libtest-qcow2.la $(SNAP_UNIT_LIBS)

# The other end of a connection, for the tests of qmp/.
check_LTLIBRARIES += libtest-qmp.la
libtest_qmp_la_SOURCES = \
	%D%/qmp-assert.c %D%/qmp-assert.h \
	%D%/qmp-peer.c %D%/qmp-peer.h
SNAP_QMP_LIBS = libtest-qmp.la libsnap-qmp.la $(JSON_GLIB_LIBS) $(GLIB_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-agent
%C%_test_qmp_agent_SOURCES = %D%/test-qmp-agent.c
%C%_test_qmp_agent_LDADD = $(SNAP_QMP_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-async
%C%_test_qmp_async_SOURCES = %D%/test-qmp-async.c
%C%_test_qmp_async_LDADD = $(SNAP_QMP_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-client
%C%_test_qmp_client_SOURCES = %D%/test-qmp-client.c
%C%_test_qmp_client_LDADD = $(SNAP_QMP_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-disks
%C%_test_qmp_disks_SOURCES = %D%/test-qmp-disks.c
%C%_test_qmp_disks_LDADD = $(SNAP_QMP_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-guest
%C%_test_qmp_guest_SOURCES = %D%/test-qmp-guest.c
%C%_test_qmp_guest_LDADD = $(SNAP_QMP_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-locked
%C%_test_qmp_locked_SOURCES = %D%/test-qmp-locked.c
%C%_test_qmp_locked_LDADD = $(SNAP_QMP_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-message
%C%_test_qmp_message_SOURCES = %D%/test-qmp-message.c
%C%_test_qmp_message_LDADD = $(SNAP_QMP_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-monitor
%C%_test_qmp_monitor_SOURCES = %D%/test-qmp-monitor.c
%C%_test_qmp_monitor_LDADD = $(SNAP_QMP_LIBS)

SNAP_UNIT_TESTS += %D%/test-qmp-takeover
%C%_test_qmp_takeover_SOURCES = %D%/test-qmp-takeover.c
%C%_test_qmp_takeover_LDADD = $(SNAP_QMP_LIBS)

# Run by tests/py, which starts the QEMU that it needs.
check_PROGRAMS += %D%/test-qmp-qemu
%C%_test_qmp_qemu_SOURCES = %D%/test-qmp-qemu.c
%C%_test_qmp_qemu_LDADD = $(SNAP_QMP_LIBS)
SNAP_UNIT_TESTS += %D%/test-read-many
%C%_test_read_many_SOURCES = %D%/test-read-many.c
%C%_test_read_many_LDADD = $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-reader
%C%_test_reader_SOURCES = %D%/test-reader.c
%C%_test_reader_LDADD = libsnap-os.la libsnap-base.la $(GLIB_LIBS)

# Stores in memory with a driver over them, and what tests say about them.
check_LTLIBRARIES += libtest-memory.la
libtest_memory_la_SOURCES = \
	%D%/memory-data.c %D%/memory-data.h \
	%D%/memory-driver.c %D%/memory-driver.h \
	%D%/memory-export.c %D%/memory-export.h \
	%D%/memory-layer.c %D%/memory-layer.h \
	%D%/memory-store.c %D%/memory-store.h \
	%D%/memory-volume.c %D%/memory-volume.h

# What every driver is tested with.
check_LTLIBRARIES += libtest-contract.la
libtest_contract_la_SOURCES = \
	%D%/contract-creation.c \
	%D%/contract-diff.c \
	%D%/contract-history.c %D%/contract-history.h \
	%D%/contract-image.c \
	%D%/contract.c %D%/contract.h %D%/contract-private.h \
	%D%/scratch.c %D%/scratch.h
SNAP_MEMORY_LIBS = libtest-memory.la libtest-contract.la $(SNAP_UNIT_LIBS)

# The same driver as somebody else would ship it.
check_LTLIBRARIES += %D%/nbdsnap-memory-driver.la
%C%_nbdsnap_memory_driver_la_SOURCES = \
	%D%/memory-data.c %D%/memory-driver.c %D%/memory-layer.c \
	%D%/memory-store.c snapshot-core/drivers/point.c
%C%_nbdsnap_memory_driver_la_LIBADD = libsnap-base.la $(GLIB_LIBS)
%C%_nbdsnap_memory_driver_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version \
	-shared -rpath /nowhere -Wl,-z,nodelete

# Run by tests/py, which makes the file systems that it needs.
check_PROGRAMS += %D%/test-contract-files
%C%_test_contract_files_SOURCES = %D%/test-contract-files.c
%C%_test_contract_files_LDADD = libtest-contract.la $(SNAP_UNIT_LIBS)

# Run by tests/py, which starts the QEMU that it needs.
check_PROGRAMS += %D%/test-contract-qemu
%C%_test_contract_qemu_SOURCES = %D%/test-contract-qemu.c
%C%_test_contract_qemu_LDADD = libtest-contract.la $(SNAP_UNIT_LIBS) \
	$(JSON_GLIB_LIBS)

# Run by tests/lvm, which makes the volume groups that it needs.
check_PROGRAMS += %D%/test-contract-lvm
%C%_test_contract_lvm_SOURCES = %D%/test-contract-lvm.c
%C%_test_contract_lvm_LDADD = libtest-contract.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-contract-memory
%C%_test_contract_memory_SOURCES = %D%/test-contract-memory.c
%C%_test_contract_memory_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-contract-qcow2
%C%_test_contract_qcow2_SOURCES = %D%/test-contract-qcow2.c
%C%_test_contract_qcow2_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-cow-store
%C%_test_cow_store_SOURCES = %D%/test-cow-store.c
%C%_test_cow_store_LDADD = $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-disk-image
%C%_test_disk_image_SOURCES = %D%/test-disk-image.c
%C%_test_disk_image_LDADD = $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-crc32c
%C%_test_crc32c_SOURCES = %D%/test-crc32c.c
%C%_test_crc32c_LDADD = $(GLIB_LIBS)

SNAP_UNIT_TESTS += %D%/test-diff
%C%_test_diff_SOURCES = %D%/test-diff.c
%C%_test_diff_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-diff-stream
%C%_test_diff_stream_SOURCES = %D%/test-diff-stream.c
%C%_test_diff_stream_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-export
%C%_test_export_SOURCES = %D%/test-export.c
%C%_test_export_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-export-names
%C%_test_export_names_SOURCES = %D%/test-export-names.c
%C%_test_export_names_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-hold
%C%_test_hold_SOURCES = %D%/test-hold.c
%C%_test_hold_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-library
%C%_test_library_SOURCES = %D%/test-library.c
%C%_test_library_LDADD = libsnap-os.la libsnap-base.la $(GLIB_LIBS)

SNAP_UNIT_TESTS += %D%/test-lvm-report
%C%_test_lvm_report_SOURCES = %D%/test-lvm-report.c
%C%_test_lvm_report_LDADD = $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-manifest
%C%_test_manifest_SOURCES = %D%/test-manifest.c
%C%_test_manifest_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-reference
%C%_test_reference_SOURCES = %D%/test-reference.c
%C%_test_reference_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-registry
%C%_test_registry_SOURCES = %D%/test-registry.c
%C%_test_registry_LDADD = $(SNAP_MEMORY_LIBS)
EXTRA_%C%_test_registry_DEPENDENCIES = %D%/nbdsnap-memory-driver.la

SNAP_UNIT_TESTS += %D%/test-set
%C%_test_set_SOURCES = %D%/test-set.c
%C%_test_set_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-set-crash
%C%_test_set_crash_SOURCES = %D%/test-set-crash.c
%C%_test_set_crash_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-set-hooks
%C%_test_set_hooks_SOURCES = %D%/test-set-hooks.c
%C%_test_set_hooks_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-set-delete
%C%_test_set_delete_SOURCES = %D%/test-set-delete.c
%C%_test_set_delete_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-state
%C%_test_state_SOURCES = %D%/test-state.c
%C%_test_state_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-volume
%C%_test_volume_SOURCES = %D%/test-volume.c
%C%_test_volume_LDADD = $(SNAP_MEMORY_LIBS)

SNAP_UNIT_TESTS += %D%/test-window
%C%_test_window_SOURCES = %D%/test-window.c
%C%_test_window_LDADD = $(SNAP_UNIT_LIBS)

# ---- end of the blocks ----
check_PROGRAMS += $(SNAP_UNIT_TESTS)
TESTS += $(SNAP_UNIT_TESTS)
AM_TESTS_ENVIRONMENT = \
	G_DEBUG=fatal-warnings MALLOC_PERTURB_=$$(($$$$ % 255 + 1)) LC_ALL=C \
	abs_top_srcdir='$(abs_top_srcdir)' abs_top_builddir='$(abs_top_builddir)'; \
	export G_DEBUG MALLOC_PERTURB_ LC_ALL abs_top_srcdir abs_top_builddir;

