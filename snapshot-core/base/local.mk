# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-base.la
libsnap_base_la_SOURCES = \
	%D%/bytes.c %D%/bytes.h \
	%D%/crc32c.c %D%/crc32c.h \
	%D%/error.c %D%/error.h \
	%D%/extents.c %D%/extents.h \
	%D%/parallel.c %D%/parallel.h \
	%D%/quiesce.c %D%/quiesce.h \
	%D%/reader.c %D%/reader.h \
	%D%/text.c %D%/text.h \
	%D%/window.c %D%/window.h
libsnap_base_la_LIBADD = $(GLIB_LIBS)
