# SPDX-License-Identifier: LGPL-2.1-or-later
# Not built here: what is to be built has a Makefile of its own.
EXTRA_DIST += \
	%D%/copies-driver/Makefile \
	%D%/copies-driver/README.md \
	%D%/copies-driver/copies.c \
	%D%/systemd/nbdsnap-vm.service \
	%D%/systemd/nbdsnap-vm.socket
