/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/points.h"

#include "cli/output.h"

void
cli_point_free (CliPoint *self)
{
  if (self == NULL)
    return;
  g_clear_pointer (&self->point, snap_point_free);
  g_clear_pointer (&self->volume, snap_volume_unref);
  g_free (self);
}

static void
warn (const char *message, gpointer user_data)
{
  cli_say ("%s", message);
}

SnapVolume *
cli_reference_open (Cli *cli, const SnapReference *reference, SnapOpenMode mode,
                    GError **error)
{
  const SnapOpenOptions options = {
    .mode = mode,
    .secret_file = cli->options.secret_file,
    .force = cli->force,
    .snapshot_dir = cli->options.snapshot_dir,
    .warn = cli->options.quiet ? NULL : warn,
    .mechanism = cli->guest_disks.mechanism,
    .scratch_dir = cli->guest_disks.scratch_dir,
    .consumer = cli->guest_disks.consumer,
    .quiesce = cli->guest_disks.quiesce,
  };

  return snap_volume_open (cli->registry, reference, &options, error);
}

SnapVolume *
cli_volume_open (Cli *cli, const char *text, SnapOpenMode mode, GError **error)
{
  g_autoptr (SnapReference) reference =
      snap_reference_parse (cli->registry, text, error);

  if (reference == NULL)
    return NULL;
  if (reference->to != NULL) {
    cli_usage (cli, error, "%s: names a point, but a volume is wanted", text);
    return NULL;
  }
  return cli_reference_open (cli, reference, mode, error);
}

SnapReference *
cli_point_parse (Cli *cli, const char *text, GError **error)
{
  g_autoptr (SnapReference) reference =
      snap_reference_parse (cli->registry, text, error);

  if (reference == NULL)
    return NULL;
  if (reference->to != NULL && reference->from == NULL)
    return g_steal_pointer (&reference);
  cli_usage (cli, error, "%s: VOLUME@POINT is wanted, with one point", text);
  return NULL;
}

CliPoint *
cli_point_open (Cli *cli, const char *text, SnapOpenMode mode, GError **error)
{
  g_autoptr (CliPoint) self = g_new0 (CliPoint, 1);
  g_autoptr (SnapReference) reference = cli_point_parse (cli, text, error);

  if (reference == NULL)
    return NULL;
  self->volume = cli_reference_open (cli, reference, mode, error);
  if (self->volume == NULL)
    return NULL;
  self->point =
      snap_volume_find_point (self->volume, cli->state, reference->to, error);
  return self->point != NULL ? g_steal_pointer (&self) : NULL;
}

/* Let @added use the volume of an earlier point, or find it there twice. */
static gboolean
join_earlier (GPtrArray *points, CliPoint *added)
{
  for (guint i = 0; i < points->len; i++) {
    const CliPoint *earlier = g_ptr_array_index (points, i);

    if (!snap_volume_equal (earlier->volume, added->volume))
      continue;
    if (g_str_equal (earlier->point->id, added->point->id))
      return FALSE;
    if (earlier->volume != added->volume) {
      snap_volume_unref (added->volume);
      added->volume = snap_volume_ref (earlier->volume);
    }
  }
  return TRUE;
}

GPtrArray *
cli_points_open (Cli *cli, char *const *texts, SnapOpenMode mode,
                 GError **error)
{
  g_autoptr (GPtrArray) points =
      g_ptr_array_new_with_free_func ((GDestroyNotify) cli_point_free);

  for (gsize i = 0; texts[i] != NULL; i++) {
    g_autoptr (CliPoint) added = cli_point_open (cli, texts[i], mode, error);

    if (added == NULL)
      return NULL;
    if (!join_earlier (points, added)) {
      cli_usage (cli, error, "%s: is named twice", texts[i]);
      return NULL;
    }
    g_ptr_array_add (points, g_steal_pointer (&added));
  }
  return g_steal_pointer (&points);
}

char *
cli_point_reference (const SnapVolume *volume, const GPtrArray *snapshots,
                     const SnapPoint *point)
{
  return snap_volume_format_reference (
      volume, snap_volume_point_word (snapshots, point));
}
