# SPDX-License-Identifier: LGPL-2.1-or-later
EXTRA_DIST += %D%/valgrind.supp
include %D%/fakes/local.mk
include %D%/unit/local.mk
include %D%/fuzz/local.mk
include %D%/py/local.mk
include %D%/lvm/local.mk
include %D%/guest/local.mk
include %D%/bench/local.mk
