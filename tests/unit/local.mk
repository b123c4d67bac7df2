# SPDX-License-Identifier: LGPL-2.1-or-later
# Unit tests: pure code, no root, no network, no storage tool.
SNAP_UNIT_TESTS =
SNAP_UNIT_LIBS = $(SNAP_CORE_LIBS) $(JSON_GLIB_LIBS) $(GLIB_LIBS)
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh

# ---- one block a test, sorted by name ----

SNAP_UNIT_TESTS += %D%/test-cli-exit-codes
%C%_test_cli_exit_codes_SOURCES = %D%/test-cli-exit-codes.c
%C%_test_cli_exit_codes_LDADD = libsnap-cli.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-cli-json
%C%_test_cli_json_SOURCES = %D%/test-cli-json.c
%C%_test_cli_json_LDADD = libsnap-cli.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-cli-strip
%C%_test_cli_strip_SOURCES = %D%/test-cli-strip.c
%C%_test_cli_strip_LDADD = libsnap-cli.la $(SNAP_UNIT_LIBS)

SNAP_UNIT_TESTS += %D%/test-cli-text
%C%_test_cli_text_SOURCES = %D%/test-cli-text.c
%C%_test_cli_text_LDADD = libsnap-cli.la $(SNAP_UNIT_LIBS)

# ---- end of the blocks ----
check_PROGRAMS += $(SNAP_UNIT_TESTS)
TESTS += $(SNAP_UNIT_TESTS)
AM_TESTS_ENVIRONMENT = \
	G_DEBUG=fatal-warnings MALLOC_PERTURB_=$$(($$$$ % 255 + 1)) LC_ALL=C \
	abs_top_srcdir='$(abs_top_srcdir)' abs_top_builddir='$(abs_top_builddir)'; \
	export G_DEBUG MALLOC_PERTURB_ LC_ALL abs_top_srcdir abs_top_builddir;
