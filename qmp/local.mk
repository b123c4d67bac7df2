# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-qmp.la
libsnap_qmp_la_SOURCES = \
	%D%/agent.c %D%/agent.h \
	%D%/channel.c %D%/channel.h \
	%D%/client-async.c %D%/client-private.h \
	%D%/client.c %D%/client.h \
	%D%/disks.c %D%/disks.h \
	%D%/error.c %D%/error.h \
	%D%/guest.c %D%/guest.h \
	%D%/json.c %D%/json.h \
	%D%/libvirt.c %D%/libvirt.h \
	%D%/message.c %D%/message.h \
	%D%/monitor.c %D%/monitor.h \
	%D%/release.c
libsnap_qmp_la_LIBADD = $(JSON_GLIB_LIBS) $(GLIB_LIBS)
