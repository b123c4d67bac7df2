# SPDX-License-Identifier: LGPL-2.1-or-later
# Not built here: each example has a Makefile of its own.
EXTRA_DIST += \
	%D%/copies-driver/Makefile \
	%D%/copies-driver/README.md \
	%D%/copies-driver/copies.c
