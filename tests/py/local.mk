# SPDX-License-Identifier: LGPL-2.1-or-later
# Tests that drive the built programs as a user would.  `make check` runs the
# quick ones; `make check-full`, and ./check, run both lists.
SNAP_PY_QUICK = \
	%D%/test_bad_input.py \
	%D%/test_cli.py \
	%D%/test_cli_usage.py \
	%D%/test_completion.py \
	%D%/test_diff_output.py \
	%D%/test_example_driver.py \
	%D%/test_files_contract.py \
	%D%/test_guest_fakes.py \
	%D%/test_images.py \
	%D%/test_hooks.py \
	%D%/test_install.py \
	%D%/test_nbd_client.py \
	%D%/test_plugin_contexts.py \
	%D%/test_plugin_copy.py \
	%D%/test_plugin_exports.py \
	%D%/test_plugin_faults.py \
	%D%/test_plugin_status.py \
	%D%/test_qmp_qemu.py \
	%D%/test_recovery.py \
	%D%/test_serve.py \
	%D%/test_serve_cache.py \
	%D%/test_serve_conformance.py \
	%D%/test_serve_faults.py \
	%D%/test_serve_hold.py \
	%D%/test_serve_interop.py \
	%D%/test_serve_limits.py \
	%D%/test_serve_neighbours.py \
	%D%/test_serve_privileges.py \
	%D%/test_serve_process.py \
	%D%/test_serve_recipes.py \
	%D%/test_serve_requests.py \
	%D%/test_serve_sockets.py \
	%D%/test_serve_status.py \
	%D%/test_serve_tls.py \
	%D%/test_serve_wire.py \
	%D%/test_thin_large.py \
	%D%/test_thin_meta.py \
	%D%/test_trust.py
SNAP_PY_FULL = \
	%D%/test_demo.py \
	%D%/test_files_backup.py \
	%D%/test_files_bad_input.py \
	%D%/test_files_cache.py \
	%D%/test_files_gone.py \
	%D%/test_files_history.py \
	%D%/test_files_kill.py \
	%D%/test_files_lineage.py \
	%D%/test_files_options.py \
	%D%/test_files_mutants.py \
	%D%/test_files_traps.py \
	%D%/test_files_recovery.py \
	%D%/test_files_unprivileged.py \
	%D%/test_files_writers.py \
	%D%/test_guest_backup.py \
	%D%/test_guest_kill.py \
	%D%/test_guest_sets.py \
	%D%/test_guest_trouble.py \
	%D%/test_guard_guest.py \
	%D%/test_guard_real.py \
	%D%/test_guest_bed.py \
	%D%/test_kill.py \
	%D%/test_libvirt.py \
	%D%/test_lvm_bed.py \
	%D%/test_qcow2_bitmaps.py \
	%D%/test_qcow2_encrypted.py \
	%D%/test_qcow2_reads.py \
	%D%/test_cli_edges.py \
	%D%/test_qcow2_history.py \
	%D%/test_qcow2_mutants.py \
	%D%/test_qemu_contract.py \
	%D%/test_qemu_driver.py \
	%D%/test_qemu_history.py \
	%D%/test_qemu_mutants.py \
	%D%/test_serve_soak.py \
	%D%/test_thin_mutants.py
SNAP_PY_LIBRARY = \
	%D%/snaplib/__init__.py \
	%D%/snaplib/btrfs_tree.py \
	%D%/snaplib/cli.py \
	%D%/snaplib/coverage.py \
	%D%/snaplib/devmapper.py \
	%D%/snaplib/disk.py \
	%D%/snaplib/fake_guest.py \
	%D%/snaplib/fake_agent.py \
	%D%/snaplib/fake_peer.py \
	%D%/snaplib/fake_qmp.py \
	%D%/snaplib/file_disk.py \
	%D%/snaplib/file_sets.py \
	%D%/snaplib/files.py \
	%D%/snaplib/filesystem_history.py \
	%D%/snaplib/filesystems.py \
	%D%/snaplib/guard.py \
	%D%/snaplib/guard_owner.py \
	%D%/snaplib/guest.py \
	%D%/snaplib/guest_check.py \
	%D%/snaplib/guest_disks.py \
	%D%/snaplib/guest_sets.py \
	%D%/snaplib/guest_relay.py \
	%D%/snaplib/libvirt.py \
	%D%/snaplib/lvm.py \
	%D%/snaplib/lvm2.py \
	%D%/snaplib/lvm_history.py \
	%D%/snaplib/lvm_judge.py \
	%D%/snaplib/lvm_kill.py \
	%D%/snaplib/lvm_sets.py \
	%D%/snaplib/mutants.py \
	%D%/snaplib/nbd.py \
	%D%/snaplib/nbd_client.py \
	%D%/snaplib/nbd_reply.py \
	%D%/snaplib/nbd_wire.py \
	%D%/snaplib/oracle.py \
	%D%/snaplib/ordered_writer.py \
	%D%/snaplib/pages.py \
	%D%/snaplib/pki.py \
	%D%/snaplib/qcow2_history.py \
	%D%/snaplib/qemu_bed.py \
	%D%/snaplib/qemu_history.py \
	%D%/snaplib/qmp.py \
	%D%/snaplib/serve.py \
	%D%/snaplib/serving.py \
	%D%/snaplib/short_bytes.py \
	%D%/snaplib/thin_metadata.py \
	%D%/snaplib/tools.py \
	%D%/snaplib/trap_disk.py \
	%D%/snaplib/traps/__init__.py \
	%D%/snaplib/traps/holes.py \
	%D%/snaplib/traps/leaves.py \
	%D%/snaplib/traps/places.py \
	%D%/snaplib/traps/shared.py \
	%D%/snaplib/traps/sizes.py \
	%D%/snaplib/traps/written.py

TESTS += $(SNAP_PY_QUICK)
TEST_EXTENSIONS = .py .list
PY_LOG_COMPILER = $(SHELL) $(srcdir)/%D%/run-pytest
EXTRA_DIST += %D%/run-pytest $(SNAP_PY_QUICK) $(SNAP_PY_FULL) \
	$(SNAP_PY_LIBRARY)
