# SPDX-License-Identifier: LGPL-2.1-or-later
pkglibexec_PROGRAMS += nbdsnap-guard
nbdsnap_guard_SOURCES = \
	%D%/guard.h \
	%D%/guest.c \
	%D%/main.c \
	%D%/owner.c \
	%D%/protocol.h \
	%D%/watch.c \
	%D%/work.c
nbdsnap_guard_CPPFLAGS = $(AM_CPPFLAGS)
nbdsnap_guard_LDADD = libsnap-qmp.la libsnap-os.la libsnap-base.la \
	$(JSON_GLIB_LIBS) $(GLIB_LIBS)

pkglibexec_PROGRAMS += nbdsnap-relay
nbdsnap_relay_SOURCES = %D%/relay.c %D%/relay.h
nbdsnap_relay_CPPFLAGS = $(AM_CPPFLAGS)
nbdsnap_relay_LDADD = libsnap-qmp.la libsnap-os.la libsnap-base.la \
	$(JSON_GLIB_LIBS) $(GLIB_LIBS)
