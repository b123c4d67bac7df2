# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-drivers.la
libsnap_drivers_la_SOURCES = \
	%D%/driver.h %D%/point.c %D%/builtin.h \
	%D%/native-name.c %D%/native-name.h \
	%D%/plain-image.c %D%/plain-image.h \
	%D%/record.c %D%/record.h \
	%D%/btrfs/btrfs.h \
	%D%/btrfs/compare.c \
	%D%/btrfs/create.c \
	%D%/btrfs/driver.c \
	%D%/btrfs/live.c \
	%D%/btrfs/snapshot.c \
	%D%/btrfs/tree-map.c \
	%D%/btrfs/volume.c \
	%D%/image/chain.c \
	%D%/image/compare.c \
	%D%/image/daemon.c \
	%D%/image/driver.c \
	%D%/image/image.c \
	%D%/image/image.h \
	%D%/lvm/activation.c \
	%D%/lvm/classic-diff.c \
	%D%/lvm/classic.c \
	%D%/lvm/compare.c \
	%D%/lvm/create.c \
	%D%/lvm/driver.c \
	%D%/lvm/image.c \
	%D%/lvm/lvm.h \
	%D%/lvm/metadata.c \
	%D%/lvm/native.c \
	%D%/lvm/recover.c \
	%D%/lvm/runtime.c \
	%D%/lvm/thin-diff.c \
	%D%/lvm/thin.c \
	%D%/lvm/tool.c \
	%D%/qcow2/bitmap.c \
	%D%/qcow2/chain.c \
	%D%/qcow2/create.c \
	%D%/qcow2/driver.c \
	%D%/qcow2/image.c \
	%D%/qcow2/name.c \
	%D%/qcow2/point.c \
	%D%/qcow2/qcow2.h \
	%D%/qemu/choice.c \
	%D%/qemu/compare.c \
	%D%/qemu/create.c \
	%D%/qemu/driver.c \
	%D%/qemu/image.c \
	%D%/qemu/marks.c \
	%D%/qemu/name.c \
	%D%/qemu/qemu.h \
	%D%/qemu/scratch.c \
	%D%/qemu/server.c \
	%D%/qemu/session.c \
	%D%/qemu/teardown.c \
	%D%/reflink/compare.c \
	%D%/reflink/create.c \
	%D%/reflink/driver.c \
	%D%/reflink/reflink.h \
	%D%/reflink/shelf.c \
	%D%/thin-meta/driver.c
libsnap_drivers_la_LIBADD = $(JSON_GLIB_LIBS)
