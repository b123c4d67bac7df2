# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-format.la
libsnap_format_la_SOURCES = \
	%D%/btrfs-diff.c %D%/btrfs-diff.h \
	%D%/btrfs-item.c %D%/btrfs-item.h \
	%D%/btrfs-map.c %D%/btrfs-map.h \
	%D%/btrfs-part.c %D%/btrfs-part.h \
	%D%/cow-store.c %D%/cow-store.h \
	%D%/disk-image.c %D%/disk-image.h %D%/disk-image-private.h \
	%D%/disk-image-end.c \
	%D%/fiemap.c %D%/fiemap.h \
	%D%/lvm-report.c %D%/lvm-report.h \
	%D%/manifest.c %D%/manifest.h \
	%D%/qcow2-bitmaps.c %D%/qcow2-bitmaps.h \
	%D%/qcow2-diff.c \
	%D%/qcow2-entry.c %D%/qcow2-entry.h \
	%D%/qcow2-header.c %D%/qcow2-header.h \
	%D%/qcow2-l1.c %D%/qcow2-l1.h \
	%D%/qcow2-l2-cache.c %D%/qcow2-l2-cache.h \
	%D%/qcow2-layer.c %D%/qcow2-layer.h %D%/qcow2-layer-private.h \
	%D%/qcow2-snapshots.c %D%/qcow2-snapshots.h \
	%D%/thin-batch.c %D%/thin-batch.h \
	%D%/thin-cursor.c %D%/thin-cursor.h \
	%D%/thin-diff.c %D%/thin-diff.h \
	%D%/thin-level.c %D%/thin-level.h \
	%D%/thin-node.c %D%/thin-node.h
libsnap_format_la_LIBADD = $(JSON_GLIB_LIBS)
