# SPDX-License-Identifier: LGPL-2.1-or-later
# Manual pages, made from POD in the build tree.
SNAP_MAN_PAGES = \
	%D%/nbdsnap.1 \
	%D%/nbdsnap-ack.1 \
	%D%/nbdsnap-activate.1 \
	%D%/nbdsnap-btrfs.1 \
	%D%/nbdsnap-create.1 \
	%D%/nbdsnap-deactivate.1 \
	%D%/nbdsnap-delete.1 \
	%D%/nbdsnap-diff.1 \
	%D%/nbdsnap-doctor.1 \
	%D%/nbdsnap-drivers.1 \
	%D%/nbdsnap-image.1 \
	%D%/nbdsnap-list.1 \
	%D%/nbdsnap-lvm.1 \
	%D%/nbdsnap-qcow2.1 \
	%D%/nbdsnap-qemu.1 \
	%D%/nbdsnap-reflink.1 \
	%D%/nbdsnap-serve.1 \
	%D%/nbdsnap-show.1 \
	%D%/nbdsnap-thaw.1 \
	%D%/nbdsnap-thin-meta.1 \
	%D%/nbdkit-snapshot-plugin.1

man_MANS += $(SNAP_MAN_PAGES)
CLEANFILES += $(SNAP_MAN_PAGES)
EXTRA_DIST += $(SNAP_MAN_PAGES:.1=.pod) %D%/decisions.md %D%/benchmarks.md

SUFFIXES = .pod .1
.pod.1:
	$(AM_V_GEN)$(MKDIR_P) $(@D) \
	&& $(POD2MAN) --utf8 --errors=die --section=1 --center=nbdsnap \
		--release='nbdsnap $(VERSION)' \
		--name="$$(basename $@ .1 | tr a-z A-Z)" $< $@.tmp \
	&& mv $@.tmp $@
