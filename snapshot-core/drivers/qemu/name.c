/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bitmap of ours is called "NAME.nbdsnap-SET_ID-TIME-SIZE" or, with a
 * consumer, "…-CONSUMER": which point it began at, when that was (hexadecimal
 * microseconds), and how large the disk was (hexadecimal bytes).  QEMU stores
 * nothing else with a bitmap.
 */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include <string.h>

#define MARK ".nbdsnap-"
#define END_MARK "-end"
#define PREFIX "ns-"
#define SET_ID_LENGTH 16
#define TAG_LENGTH 6

static gboolean
is_hex (const char *text, gsize length)
{
  return strnlen (text, length) == length
         && strspn (text, "0123456789abcdef") >= length;
}

gboolean
qemu_is_set_id (const char *text)
{
  return strlen (text) == SET_ID_LENGTH && is_hex (text, SET_ID_LENGTH);
}

/* ---- bitmaps ---- */

char *
qemu_bitmap_name_format (const QemuBitmapName *self)
{
  return g_strdup_printf ("%s" MARK "%s-%" G_GINT64_MODIFIER
                          "x-%" G_GINT64_MODIFIER "x%s%s",
                          self->name, self->set_id, (guint64) self->time_us,
                          self->size, self->consumer != NULL ? "-" : "",
                          self->consumer != NULL ? self->consumer : "");
}

/* "-HEX", at most 63 bits of it. */
static gboolean
take_number (const char **at, guint64 *value)
{
  gsize length = **at == '-' ? strspn (*at + 1, "0123456789abcdef") : 0;

  if (length == 0 || length > 16)
    return FALSE;
  *value = g_ascii_strtoull (*at + 1, NULL, 16);
  *at += 1 + length;
  return *value <= G_MAXINT64;
}

QemuBitmapName *
qemu_bitmap_name_parse (const char *native)
{
  const char *mark = g_strrstr (native, MARK);
  g_autoptr (QemuBitmapName) self = g_new0 (QemuBitmapName, 1);
  const char *at;
  guint64 time_us;

  if (mark == NULL || mark == native)
    return NULL;
  at = mark + strlen (MARK);
  if (!is_hex (at, SET_ID_LENGTH))
    return NULL;
  self->name = g_strndup (native, mark - native);
  self->set_id = g_strndup (at, SET_ID_LENGTH);
  at += SET_ID_LENGTH;
  if (!take_number (&at, &time_us) || !take_number (&at, &self->size)
      || (*at != '\0' && (*at != '-' || at[1] == '\0')))
    return NULL;
  self->time_us = (gint64) time_us;
  self->consumer = *at == '-' ? g_strdup (at + 1) : NULL;
  return g_steal_pointer (&self);
}

void
qemu_bitmap_name_free (QemuBitmapName *self)
{
  g_free (self->name);
  g_free (self->set_id);
  g_free (self->consumer);
  g_free (self);
}

char *
qemu_end_mark_name (const char *set_id)
{
  return g_strconcat (MARK, set_id, END_MARK, NULL);
}

gboolean
qemu_bitmap_is_of (const char *native, const char *set_id)
{
  g_autofree char *end_mark = qemu_end_mark_name (set_id);
  g_autoptr (QemuBitmapName) name = qemu_bitmap_name_parse (native);

  return g_str_equal (native, end_mark)
         || (name != NULL && g_str_equal (name->set_id, set_id));
}

/* ---- nodes, jobs, exports ---- */

char *
qemu_device_tag (const char *device)
{
  g_autofree char *sum =
      g_compute_checksum_for_string (G_CHECKSUM_SHA256, device, -1);

  return g_strndup (sum, TAG_LENGTH);
}

char *
qemu_part_name (const char *set_id, const char *tag, QemuPart part)
{
  return g_strdup_printf (PREFIX "%s-%s%c", set_id, tag, part);
}

gboolean
qemu_part_parse (const char *node, QemuPart part, char **set_id, char **tag)
{
  const char *at = node + strlen (PREFIX);
  const char *tag_at = at + SET_ID_LENGTH + 1;

  if (strlen (node) != strlen (PREFIX) + SET_ID_LENGTH + 1 + TAG_LENGTH + 1
      || !g_str_has_prefix (node, PREFIX) || !is_hex (at, SET_ID_LENGTH)
      || at[SET_ID_LENGTH] != '-' || !is_hex (tag_at, TAG_LENGTH)
      || tag_at[TAG_LENGTH] != (char) part)
    return FALSE;
  if (set_id != NULL)
    *set_id = g_strndup (at, SET_ID_LENGTH);
  if (tag != NULL)
    *tag = g_strndup (tag_at, TAG_LENGTH);
  return TRUE;
}
