# SPDX-License-Identifier: LGPL-2.1-or-later
noinst_LTLIBRARIES += libsnap-drivers.la
libsnap_drivers_la_SOURCES = \
	%D%/driver.h %D%/point.c %D%/builtin.h \
	%D%/qcow2/chain.c \
	%D%/qcow2/create.c \
	%D%/qcow2/driver.c \
	%D%/qcow2/image.c \
	%D%/qcow2/name.c \
	%D%/qcow2/point.c \
	%D%/qcow2/qcow2.h
libsnap_drivers_la_LIBADD = $(JSON_GLIB_LIBS)
