# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-os.la
libsnap_os_la_SOURCES = \
	%D%/async-read.c %D%/async-read.h \
	%D%/beneath.c %D%/beneath.h \
	%D%/block-stack.c %D%/block-stack.h \
	%D%/btrfs-ioctl.c %D%/btrfs-ioctl.h \
	%D%/btrfs-subvolume.c %D%/btrfs-subvolume.h \
	%D%/child.c %D%/child.h \
	%D%/command.c %D%/command.h \
	%D%/deadline.h \
	%D%/device-mapper.c %D%/device-mapper.h \
	%D%/fd.c %D%/fd.h \
	%D%/fiemap.c %D%/fiemap.h \
	%D%/file-identity.c %D%/file-identity.h \
	%D%/file-reader.c %D%/file-reader.h \
	%D%/image-lock.c %D%/image-lock.h \
	%D%/keeper.c %D%/keeper.h \
	%D%/library.c %D%/library.h \
	%D%/lock-file.c %D%/lock-file.h \
	%D%/nbd-source.c %D%/nbd-source.h \
	%D%/nbd-source-private.h %D%/nbd-source-request.c \
	%D%/page-cache.c %D%/page-cache.h \
	%D%/path.c %D%/path.h \
	%D%/peer.c %D%/peer.h \
	%D%/reflink.c %D%/reflink.h \
	%D%/reserved-directory.c %D%/reserved-directory.h \
	%D%/twin.c %D%/twin.h
libsnap_os_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBNBD_CFLAGS) $(BTRFSUTIL_CFLAGS) \
	$(DEVMAPPER_CFLAGS) \
	-DSNAP_DEVMAPPER_SONAME='"$(DEVMAPPER_SONAME)"' \
	-DSNAP_LIBNBD_SONAME='"$(LIBNBD_SONAME)"'
libsnap_os_la_LIBADD = $(BTRFSUTIL_LIBS)
