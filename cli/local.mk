# SPDX-License-Identifier: LGPL-2.1-or-later
# All but main() is a library, so that unit tests link the pure parts.
noinst_LTLIBRARIES += libsnap-cli.la
libsnap_cli_la_SOURCES = \
	%D%/announce.c %D%/announce.h \
	%D%/cmd-ack.c \
	%D%/cmd-activate.c \
	%D%/cmd-create.c \
	%D%/cmd-delete.c \
	%D%/cmd-diff.c \
	%D%/cmd-doctor.c \
	%D%/cmd-drivers.c \
	%D%/cmd-list.c \
	%D%/cmd-serve.c \
	%D%/cmd-show.c \
	%D%/cmd-thaw.c \
	%D%/command.c %D%/command.h \
	%D%/confine.c %D%/confine.h \
	%D%/diff-json.c \
	%D%/diff-printer.c %D%/diff-printer.h \
	%D%/diff-text.c \
	%D%/exit-codes.c %D%/exit-codes.h \
	%D%/guest.c %D%/guest.h \
	%D%/interrupt.c %D%/interrupt.h \
	%D%/json.c %D%/json.h \
	%D%/leftovers.c %D%/leftovers.h \
	%D%/output.c %D%/output.h \
	%D%/parent.c %D%/parent.h \
	%D%/points.c %D%/points.h \
	%D%/progress.c %D%/progress.h \
	%D%/serve-status.c %D%/serve-status.h \
	%D%/serve-watch.c %D%/serve-watch.h \
	%D%/service-manager.c %D%/service-manager.h \
	%D%/strip.c %D%/strip.h \
	%D%/table.c %D%/table.h \
	%D%/terminal.c %D%/terminal.h \
	%D%/text.c %D%/text.h \
	%D%/tls.c %D%/tls.h

bin_PROGRAMS += nbdsnap
nbdsnap_SOURCES = %D%/main.c
nbdsnap_LDADD = libsnap-cli.la libsnap-nbd-server.la $(SNAP_CORE_LIBS) \
	$(JSON_GLIB_LIBS) $(GLIB_LIBS)

# bash finds a completion by the name of its command.
bashcompletion_DATA = %D%/completion/nbdsnap
EXTRA_DIST += %D%/nbdsnap-completion.bash
CLEANFILES += %D%/completion/nbdsnap
%D%/completion/nbdsnap: %D%/nbdsnap-completion.bash
	$(AM_V_GEN)$(MKDIR_P) %D%/completion && cp $< $@
