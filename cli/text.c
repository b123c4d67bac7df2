/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/text.h"

#include <string.h>
#include <time.h>

gsize
cli_text_width (const char *text)
{
  gsize width = 0;

  for (const char *at = text; *at != '\0'; at = g_utf8_next_char (at)) {
    gunichar c = g_utf8_get_char (at);

    if (!g_unichar_iszerowidth (c))
      width += g_unichar_iswide (c) ? 2 : 1;
  }
  return width;
}

char *
cli_size_format (guint64 bytes, CliSizeStyle style)
{
  static const char *const units[] = {
    "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"
  };
  guint64 whole = bytes, tenths = 0;
  gsize unit = 0;

  if (style == CLI_SIZE_BYTES)
    return g_strdup_printf ("%" G_GUINT64_FORMAT, bytes);
  if (bytes < 1024)
    return g_strdup_printf ("%" G_GUINT64_FORMAT " B", bytes);

  /* The next unit also when rounding would show 1024.0 of this one. */
  for (unit = 0; unit < G_N_ELEMENTS (units); unit++) {
    guint64 scale = G_GUINT64_CONSTANT (1) << (10 * (unit + 1));
    guint64 rest = bytes % scale;

    whole = bytes / scale;
    tenths = (rest * 10 + scale / 2) / scale;
    if (tenths == 10) {
      whole++;
      tenths = 0;
    }
    if (whole < 1024)
      break;
  }
  return g_strdup_printf ("%" G_GUINT64_FORMAT ".%u %s", whole, (guint) tenths,
                          units[unit]);
}

char *
cli_percent_format (guint64 part, guint64 whole)
{
  guint tenths;

  if (whole == 0)
    return g_strdup ("0.0 %");
  tenths = (guint) ((double) part / (double) whole * 1000 + 0.5);
  if (tenths == 0 && part > 0)
    return g_strdup ("< 0.1 %");
  if (tenths >= 1000 && part < whole)
    return g_strdup ("> 99.9 %");
  return g_strdup_printf ("%u.%u %%", tenths / 10, tenths % 10);
}

char *
cli_time_format (gint64 time_us)
{
  time_t seconds = time_us / G_USEC_PER_SEC;
  struct tm tm;

  if (time_us == 0 || gmtime_r (&seconds, &tm) == NULL)
    return g_strdup ("-");
  return g_strdup_printf ("%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                          tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                          tm.tm_sec);
}
