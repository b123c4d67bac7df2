# SPDX-License-Identifier: LGPL-2.1-or-later
# `make bench` prints the table of docs/benchmarks.md.
EXTRA_DIST += %D%/bench.py %D%/bench_btrfs.py %D%/bench_diff.py \
	%D%/bench_guest.py %D%/bench_serve.py %D%/bench_status.py \
	%D%/bench_thin.py %D%/bench_throughput.py %D%/bench_xfs.py \
	%D%/benchlib.py %D%/files.py %D%/make_qcow2.py

EXTRA_PROGRAMS += %D%/measure %D%/pull %D%/read-blocks %D%/walk
%C%_measure_SOURCES = %D%/measure.c
%C%_pull_SOURCES = %D%/pull.c
%C%_read_blocks_SOURCES = %D%/read-blocks.c
%C%_walk_SOURCES = %D%/walk.c

# A test has metadata made by it, too.
check_PROGRAMS += %D%/make-thin
%C%_make_thin_SOURCES = %D%/make-thin.c
%C%_make_thin_LDADD = libsnap-base.la $(GLIB_LIBS)

EXTRA_LTLIBRARIES = %D%/nbdkit-o1-plugin.la
%C%_nbdkit_o1_plugin_la_SOURCES = %D%/o1-plugin.c
%C%_nbdkit_o1_plugin_la_CPPFLAGS = $(AM_CPPFLAGS) $(NBDKIT_CFLAGS)
# -rpath: a module that is built and never installed.
%C%_nbdkit_o1_plugin_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-rpath /nowhere
CLEANFILES += %D%/measure %D%/pull %D%/read-blocks %D%/walk \
	%D%/nbdkit-o1-plugin.la

# BENCHES= names some of them; NBDSNAP_BENCH_SHORT=1 makes all smaller.
bench: nbdsnap nbdkit-snapshot-plugin.la %D%/make-thin %D%/measure \
		%D%/pull %D%/read-blocks %D%/walk %D%/nbdkit-o1-plugin.la
	NBDSNAP_BUILDDIR=$(abs_top_builddir) PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON3) $(srcdir)/%D%/bench.py $(BENCHES)
