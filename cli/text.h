/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Values as people read them: names made safe for a terminal, sizes, shares
 * and times.  Pure functions; nothing here depends on the locale.
 *
 * Every function returns a new string that the caller frees.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <glib.h>

/* How many columns printable UTF-8 text takes. */
gsize cli_text_width (const char *text);

typedef enum {
  CLI_SIZE_HUMAN, /* "1.5 GiB" */
  CLI_SIZE_BYTES, /* "1610612736" */
} CliSizeStyle;

char *cli_size_format (guint64 bytes, CliSizeStyle style);

/*
 * The share of @part in @whole: "12.5 %".
 *
 * What is something never reads as nothing, and what is not all never as all:
 * "< 0.1 %", "> 99.9 %".
 */
char *cli_percent_format (guint64 part, guint64 whole);

/* RFC 3339 in UTC: "2026-11-23T04:15:00Z"; "-" for 0, an unknown time. */
char *cli_time_format (gint64 time_us);

#endif
