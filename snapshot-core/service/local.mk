# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-service.la
libsnap_service_la_SOURCES = \
	%D%/acknowledge.c %D%/acknowledge.h \
	%D%/activate.c %D%/activate.h \
	%D%/catalogue.c %D%/catalogue.h \
	%D%/cuts.c %D%/cuts.h \
	%D%/diff-stream.c %D%/diff-stream.h \
	%D%/diff.c %D%/diff.h \
	%D%/export-bases.c %D%/export-private.h \
	%D%/export-names.c %D%/export-names.h \
	%D%/export-pages.c \
	%D%/export-point.c %D%/export-point.h \
	%D%/export-twin.c %D%/export-twin.h \
	%D%/export-volume.c %D%/export-volume.h \
	%D%/export.c %D%/export.h \
	%D%/guard.c %D%/guard.h \
	%D%/guest.c %D%/guest.h \
	%D%/hidden.c %D%/hidden.h \
	%D%/hold.c %D%/hold.h \
	%D%/hooks.c %D%/hooks.h \
	%D%/journal.c \
	%D%/name.c \
	%D%/point-words.c %D%/point-words.h \
	%D%/reference.c %D%/reference.h \
	%D%/relay.c %D%/relay.h \
	%D%/registry.c %D%/registry.h \
	%D%/set-create.c %D%/set.h \
	%D%/set-delete.c \
	%D%/set-record.c %D%/set-record.h \
	%D%/set-recover.c \
	%D%/state-manifest.c \
	%D%/state-text.c %D%/state-text.h \
	%D%/state.c %D%/state.h \
	%D%/volume.c %D%/volume.h
libsnap_service_la_LIBADD = $(JSON_GLIB_LIBS) $(GLIB_LIBS)
