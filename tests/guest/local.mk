# SPDX-License-Identifier: LGPL-2.1-or-later
# The guest that snaplib/guest.py boots.  Its tests skip where it cannot be made.
EXTRA_DIST += %D%/README.md %D%/build %D%/demo.py %D%/fsfreeze-hook %D%/init %D%/writer.c
check_DATA += %D%/initrd

%D%/initrd: %D%/build %D%/fsfreeze-hook %D%/init %D%/writer.c
	$(AM_V_GEN)$(MKDIR_P) %D%; \
	CC='$(CC)' $(srcdir)/%D%/build %D% >%D%/build.log 2>&1 \
		|| echo "no guest for the tests: see %D%/build.log"

clean-local: clean-guest
clean-guest:
	rm -rf %D%/initrd %D%/kernel %D%/root %D%/packages %D%/libraries %D%/lock %D%/build.log
.PHONY: clean-guest
