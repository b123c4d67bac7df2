/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Our snapshots among the volumes of a group.  The name says to a reader of
 * `lvs` what it is; the tags are what we go by:
 *
 *   nbdsnap.set=SET_ID  nbdsnap.name=NAME  nbdsnap.origin=UUID
 *   nbdsnap.time=MICROSECONDS
 *
 * The UUID of the origin stays known when LVM forgets it, because the origin
 * was removed.
 */
#include "config.h"

#include "snapshot-core/drivers/lvm/lvm.h"

#include <string.h>

#include "snapshot-core/drivers/native-name.h"

#define TAG_SET "nbdsnap.set"
#define TAG_NAME "nbdsnap.name"
#define TAG_ORIGIN "nbdsnap.origin"
#define TAG_TIME "nbdsnap.time" /* LVM's own knows whole seconds only */

/* Two origins of one set differ in this part of their UUIDs. */
#define UUID_PART 6

char *
lvm_native_name (const char *name, const char *set_id, const char *origin_uuid)
{
  g_autofree char *native = snap_native_name_format (name, set_id);

  return g_strdup_printf ("%s-%.*s", native, UUID_PART, origin_uuid);
}

static void
add_tag (GPtrArray *arguments, GPtrArray *owned, const char *tag,
         const char *value)
{
  char *text = g_strdup_printf ("%s=%s", tag, value);

  g_ptr_array_add (owned, text);
  g_ptr_array_add (arguments, (char *) "--addtag");
  g_ptr_array_add (arguments, text);
}

void
lvm_native_tags (GPtrArray *arguments, GPtrArray *owned, const char *name,
                 const char *set_id, const char *origin_uuid)
{
  g_autofree char *now =
      g_strdup_printf ("%" G_GINT64_FORMAT, g_get_real_time ());

  add_tag (arguments, owned, TAG_SET, set_id);
  add_tag (arguments, owned, TAG_NAME, name);
  add_tag (arguments, owned, TAG_ORIGIN, origin_uuid);
  add_tag (arguments, owned, TAG_TIME, now);
}

gboolean
lvm_is_of_set (const SnapLvmVolume *volume, const char *set_id)
{
  return g_strcmp0 (snap_lvm_volume_tag (volume, TAG_SET), set_id) == 0;
}

static gboolean
is_ours (const SnapLvmVolume *volume)
{
  return snap_lvm_volume_tag (volume, TAG_SET) != NULL
         && snap_lvm_volume_tag (volume, TAG_NAME) != NULL
         && snap_lvm_volume_tag (volume, TAG_ORIGIN) != NULL;
}

gboolean
lvm_is_snapshot_of (const SnapLvmVolume *candidate, const char *uuid)
{
  const char *origin = is_ours (candidate)
                           ? snap_lvm_volume_tag (candidate, TAG_ORIGIN)
                           : candidate->origin_uuid;

  return g_strcmp0 (origin, uuid) == 0 && !g_str_equal (candidate->uuid, uuid);
}

char *
lvm_identity (const SnapLvmVolume *volume)
{
  return volume->thin_id != 0
             ? g_strdup_printf ("%s+%u", volume->uuid, volume->thin_id)
             : g_strdup (volume->uuid);
}

static gint64
time_of (const SnapLvmVolume *snapshot)
{
  const char *text = snap_lvm_volume_tag (snapshot, TAG_TIME);
  gint64 time_us;

  if (text != NULL
      && g_ascii_string_to_signed (text, 10, 1, G_MAXINT64, &time_us, NULL))
    return time_us;
  return snapshot->time_us;
}

/* What LVM calls the size of a classic snapshot is that of its store.  Of a
   thin one over a base in no pool the origin is that base, whose size says
   nothing. */
static guint64
size_of (const SnapLvmVolume *snapshot)
{
  return snapshot->thin_id == 0 && snapshot->origin_size != 0
             ? snapshot->origin_size
             : snapshot->size;
}

SnapPoint *
lvm_point_new (const SnapLvmVolume *snapshot)
{
  gboolean ours = is_ours (snapshot);
  SnapPoint *point = snap_point_new (
      SNAP_POINT_SNAPSHOT,
      ours ? snap_lvm_volume_tag (snapshot, TAG_NAME) : snapshot->name);

  point->ours = ours;
  point->id = lvm_identity (snapshot);
  point->handle = g_strdup (snapshot->name);
  point->set_id =
      ours ? g_strdup (snap_lvm_volume_tag (snapshot, TAG_SET)) : NULL;
  point->size = size_of (snapshot);
  point->time_us = time_of (snapshot);
  return point;
}

const SnapLvmVolume *
lvm_report_point (GPtrArray *report, const LvmVolume *volume,
                  const SnapPoint *point, GError **error)
{
  for (guint i = 0; i < report->len; i++) {
    const SnapLvmVolume *candidate = report->pdata[i];
    g_autofree char *id = lvm_identity (candidate);

    if (g_str_equal (id, point->id))
      return candidate;
  }
  snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s@%s: is gone",
                  volume->parent.location, point->name);
  return NULL;
}
