# SPDX-License-Identifier: LGPL-2.1-or-later
include %D%/base/local.mk
include %D%/format/local.mk
include %D%/os/local.mk
include %D%/drivers/local.mk
include %D%/service/local.mk

# The whole core in link order, for the front ends and tests.
SNAP_CORE_LIBS = libsnap-service.la libsnap-drivers.la libsnap-os.la \
	libsnap-format.la libsnap-qmp.la libsnap-base.la
