# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-os.la
libsnap_os_la_SOURCES = \
	%D%/child.c %D%/child.h \
	%D%/command.c %D%/command.h \
	%D%/deadline.h \
	%D%/fd.c %D%/fd.h \
	%D%/file-reader.c %D%/file-reader.h \
	%D%/image-lock.c %D%/image-lock.h \
	%D%/keeper.c %D%/keeper.h \
	%D%/lock-file.c %D%/lock-file.h \
	%D%/nbd-source.c %D%/nbd-source.h
libsnap_os_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBNBD_CFLAGS)
libsnap_os_la_LIBADD = $(LIBNBD_LIBS)
