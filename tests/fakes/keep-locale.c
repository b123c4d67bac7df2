/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded with AddressSanitizer into a program that was not built with it:
 * freelocale() does nothing.
 *
 * glibc 2.36 with libasan 8 preloaded counts one reader too few on the lock of
 * its locales, before anything of ours is loaded, and a library that nbdkit
 * brings along (p11-kit) frees a locale when the process ends.  It then waits
 * for ever, with any plugin that once asked for the text of an error.
 */
#include <locale.h>

void
freelocale (locale_t locale)
{
  (void) locale;
}
