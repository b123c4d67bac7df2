# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-nbd-server.la
libsnap_nbd_server_la_SOURCES = \
	%D%/ahead.c %D%/ahead.h \
	%D%/connection.c %D%/connection.h \
	%D%/context.c %D%/context.h \
	%D%/counters.h \
	%D%/failure.c %D%/failure.h \
	%D%/handshake-contexts.c %D%/handshake-private.h \
	%D%/handshake.c %D%/handshake.h \
	%D%/input.c %D%/input.h \
	%D%/listener.c %D%/listener.h \
	%D%/offer.c %D%/offer.h \
	%D%/protocol-handshake.c %D%/protocol.h \
	%D%/protocol-reply.c \
	%D%/protocol-request.c \
	%D%/read.c \
	%D%/runs.c %D%/runs.h \
	%D%/sent.c %D%/sent.h \
	%D%/security.h \
	%D%/server.c %D%/server.h \
	%D%/session.c %D%/session.h \
	%D%/socket.c %D%/socket.h \
	%D%/status.c \
	%D%/stream.c %D%/stream.h \
	%D%/tls-keys.c %D%/tls-keys.h \
	%D%/tls.c %D%/tls.h \
	%D%/workers.c %D%/workers.h
libsnap_nbd_server_la_CPPFLAGS = $(AM_CPPFLAGS) $(OPENSSL_CFLAGS) \
	-DSNAP_LIBSSL_SONAME='"$(LIBSSL_SONAME)"'
libsnap_nbd_server_la_LIBADD = $(GLIB_LIBS)
