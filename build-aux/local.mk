# SPDX-License-Identifier: LGPL-2.1-or-later
# Checks of the sources themselves.
EXTRA_DIST += %D%/layers %D%/check-layers %D%/check-headers %D%/build %D%/link \
	%D%/debian-packages %D%/install-packages %D%/analyze \
	%D%/m4/snap-try-flags.m4

.PHONY: check-layers check-headers check-valgrind check-unit check-full \
	analyze fuzz bench

check-layers:
	$(srcdir)/%D%/check-layers $(srcdir)

check-headers:
	$(srcdir)/%D%/check-headers $(srcdir) $(CC) $(AM_CPPFLAGS) $(CPPFLAGS) \
		$(AM_CFLAGS) $(CFLAGS) $(NBDKIT_CFLAGS)

# Unit tests alone; the same under valgrind; everything.
check-unit:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(SNAP_UNIT_TESTS) $(SNAP_FUZZ_TESTS)'

check-valgrind:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(SNAP_UNIT_TESTS)' \
		LOG_COMPILER='$(LIBTOOL) --mode=execute timeout -k 10 900 valgrind --quiet --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=99 --child-silent-after-fork=yes --suppressions=$(abs_top_srcdir)/tests/valgrind.supp'

# The longest first, so that the processors are busy until the end.
check-full:
	@tests='$(SNAP_LONGEST)'; \
	for test in $(SNAP_PY_FULL) $(TESTS); do \
		case " $$tests " in *" $$test "*) continue ;; esac; \
		tests="$$tests $$test"; \
	done; \
	$(MAKE) $(AM_MAKEFLAGS) check TESTS="$$tests"

analyze:
	$(srcdir)/%D%/analyze $(srcdir) $(abs_top_builddir)
