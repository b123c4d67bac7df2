# SPDX-License-Identifier: LGPL-2.1-or-later
# Fuzz targets.  Each fuzz-NAME has seeds in seeds/NAME, which `make check`
# replays; with --enable-fuzzing (and CC=clang) `make fuzz` runs libFuzzer.
SNAP_FUZZ_TARGETS = %D%/fuzz-btrfs %D%/fuzz-cow %D%/fuzz-disk \
	%D%/fuzz-nbd-handshake \
	%D%/fuzz-nbd-requests %D%/fuzz-qcow2 %D%/fuzz-qmp %D%/fuzz-thin
SNAP_FUZZ_MAX_LEN = 131072
EXTRA_DIST += %D%/make-btrfs-seeds %D%/make-nbd-seeds %D%/make-qmp-seeds \
	%D%/make-seeds %D%/run-fuzzer %D%/seeds

%C%_fuzz_btrfs_SOURCES = %D%/fuzz-btrfs.c %D%/fuzz-target.h
%C%_fuzz_btrfs_LDADD = libsnap-format.la libsnap-base.la $(GLIB_LIBS)
%C%_fuzz_cow_SOURCES = %D%/fuzz-cow.c %D%/fuzz-target.h
%C%_fuzz_cow_LDADD = libsnap-format.la libsnap-base.la $(GLIB_LIBS)
%C%_fuzz_disk_SOURCES = %D%/fuzz-disk.c %D%/fuzz-target.h
%C%_fuzz_disk_LDADD = libsnap-format.la libsnap-base.la $(GLIB_LIBS)
%C%_fuzz_nbd_handshake_SOURCES = %D%/fuzz-nbd-handshake.c %D%/fuzz-target.h \
	tests/unit/nbd-offer.c tests/unit/nbd-offer.h
%C%_fuzz_nbd_handshake_LDADD = libsnap-nbd-server.la libsnap-base.la \
	$(GLIB_LIBS)
%C%_fuzz_nbd_requests_SOURCES = %D%/fuzz-nbd-requests.c %D%/fuzz-target.h
%C%_fuzz_nbd_requests_LDADD = libsnap-nbd-server.la libsnap-base.la \
	$(GLIB_LIBS)
%C%_fuzz_qcow2_SOURCES = %D%/fuzz-qcow2.c %D%/fuzz-target.h
%C%_fuzz_qcow2_LDADD = libsnap-format.la libsnap-base.la $(GLIB_LIBS)
%C%_fuzz_qmp_SOURCES = %D%/fuzz-qmp.c %D%/fuzz-target.h
%C%_fuzz_qmp_LDADD = libsnap-qmp.la $(JSON_GLIB_LIBS) $(GLIB_LIBS)
%C%_fuzz_thin_SOURCES = %D%/fuzz-thin.c %D%/fuzz-target.h
%C%_fuzz_thin_LDADD = libsnap-format.la libsnap-base.la $(GLIB_LIBS)

if FUZZING
AM_CFLAGS += -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=all -fno-omit-frame-pointer
AM_LDFLAGS += -fsanitize=fuzzer-no-link,address,undefined
EXTRA_PROGRAMS += $(SNAP_FUZZ_TARGETS)
SNAP_FUZZ_TESTS =
%C%_fuzz_btrfs_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_cow_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_disk_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_nbd_handshake_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_nbd_requests_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_qcow2_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_qmp_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
%C%_fuzz_thin_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer

# As many at once as there are processors.
fuzzers: $(SNAP_FUZZ_TARGETS)
fuzz: fuzzers
	printf '%s\n' $(SNAP_FUZZ_TARGETS) \
		| NBDSNAP_FUZZ_MAX_LEN=$(SNAP_FUZZ_MAX_LEN) \
			xargs -n 1 -P "$$(nproc)" $(srcdir)/%D%/run-fuzzer
else
check_PROGRAMS += $(SNAP_FUZZ_TARGETS)
SNAP_FUZZ_TESTS = $(SNAP_FUZZ_TARGETS)
TESTS += $(SNAP_FUZZ_TESTS)
%C%_fuzz_btrfs_SOURCES += %D%/replay-main.c
%C%_fuzz_cow_SOURCES += %D%/replay-main.c
%C%_fuzz_disk_SOURCES += %D%/replay-main.c
%C%_fuzz_nbd_handshake_SOURCES += %D%/replay-main.c
%C%_fuzz_nbd_requests_SOURCES += %D%/replay-main.c
%C%_fuzz_qcow2_SOURCES += %D%/replay-main.c
%C%_fuzz_qmp_SOURCES += %D%/replay-main.c
%C%_fuzz_thin_SOURCES += %D%/replay-main.c

fuzz fuzzers:
	@echo 'configure with --enable-fuzzing CC=clang to fuzz'; exit 1
endif
