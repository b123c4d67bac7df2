# SPDX-License-Identifier: LGPL-2.1-or-later
nbdkit_plugin_LTLIBRARIES += nbdkit-snapshot-plugin.la
nbdkit_snapshot_plugin_la_SOURCES = \
	%D%/arguments.c %D%/arguments.h \
	%D%/contexts.c %D%/contexts.h \
	%D%/extents.c %D%/extents.h \
	%D%/failure.c %D%/failure.h \
	%D%/plugin.c
nbdkit_snapshot_plugin_la_CPPFLAGS = $(AM_CPPFLAGS) $(NBDKIT_CFLAGS)
# nodelete: types that GLib registered must stay mapped after an unload.
nbdkit_snapshot_plugin_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version \
	-shared -Wl,-z,nodelete -export-symbols-regex '^plugin_init$$'
nbdkit_snapshot_plugin_la_LIBADD = libsnap-nbd-server.la $(SNAP_CORE_LIBS) $(GLIB_LIBS)
