/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/guest.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/points.h"
#include "snapshot-core/service/activate.h"
#include "snapshot-core/service/catalogue.h"
#include "snapshot-core/service/diff.h"
#include "snapshot-core/service/point-words.h"

typedef enum {
  HELD_NO,
  HELD_YES,
  HELD_UNKNOWN,
} Held;

/* All that there is to say about one point. */
typedef struct {
  const SnapPoint *point; /* borrowed */
  char *volume;           /* references */
  char *reference;
  char *path; /* of a file or device with its bytes, or NULL */
  Held held;
  gboolean set_known; /* whether `set` says anything */
  SnapCatalogueSet set;
  GPtrArray *comparable; /* char *, words of points it can be compared from */
} Facts;

static void
facts_clear (Facts *self)
{
  g_free (self->volume);
  g_free (self->reference);
  g_free (self->path);
  g_clear_pointer (&self->comparable, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Facts, facts_clear)

/* ---- collecting ---- */

static Held
find_held (Cli *cli, const CliPoint *shown)
{
  gboolean held;

  if (!snap_hold_probe (cli->state, shown->volume, shown->point, &held, NULL))
    return HELD_UNKNOWN;
  return held ? HELD_YES : HELD_NO;
}

static void
add_if_comparable (GPtrArray *words, const CliPoint *shown,
                   const SnapPointWords *names, const SnapPoint *from)
{
  if (snap_diff_comparable (shown->volume, from, shown->point))
    g_ptr_array_add (words, g_strdup (snap_point_words_get (names, from)));
}

/* The points from which a diff to this one can be had, oldest first. */
static GPtrArray *
find_comparable (Cli *cli, const CliPoint *shown, const GPtrArray *snapshots)
{
  GPtrArray *words = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (SnapPointWords) names = snap_point_words_new (snapshots);
  g_autoptr (SnapPoint) backing =
      snap_volume_find_point (shown->volume, cli->state, "backing", NULL);

  if (backing != NULL && shown->point->kind != SNAP_POINT_BACKING)
    add_if_comparable (words, shown, names, backing);
  for (guint i = 0; i < snapshots->len; i++) {
    const SnapPoint *from = g_ptr_array_index (snapshots, i);

    if (g_str_equal (from->id, shown->point->id))
      break;
    add_if_comparable (words, shown, names, from);
  }
  return words;
}

static gboolean
collect_facts (Cli *cli, const CliPoint *shown, Facts *facts, GError **error)
{
  g_autoptr (GPtrArray) snapshots =
      snap_volume_list (shown->volume, cli->state, error);

  if (snapshots == NULL)
    return FALSE;
  if (shown->point->set_id != NULL
      && !snap_catalogue_read_set (cli->state, shown->point->set_id,
                                   &facts->set, &facts->set_known, error))
    return FALSE;
  facts->point = shown->point;
  facts->volume = snap_volume_format_reference (shown->volume, NULL);
  facts->reference =
      cli_point_reference (shown->volume, snapshots, shown->point);
  facts->path = snap_point_path (shown->volume, shown->point);
  facts->held = find_held (cli, shown);
  facts->comparable = find_comparable (cli, shown, snapshots);
  return TRUE;
}

static const char *
kind_name (SnapPointKind kind)
{
  static const char *const names[] = {
    [SNAP_POINT_SNAPSHOT] = "snapshot",     [SNAP_POINT_LIVE] = "live",
    [SNAP_POINT_BACKING] = "backing",       [SNAP_POINT_EMPTY] = "empty",
    [SNAP_POINT_CHECKPOINT] = "checkpoint",
  };

  return names[kind];
}

/* NULL if it is not known. */
static const char *
consistency_name (const Facts *facts, gboolean json)
{
  if (!facts->set_known)
    return NULL;
  if (facts->set.consistency == SNAP_SET_ATOMIC)
    return "atomic";
  return json ? "sequential" : "one after another";
}

/* NULL where nobody made it, as with the live volume. */
static const char *
maker_name (const SnapPoint *point)
{
  if (point->kind != SNAP_POINT_SNAPSHOT)
    return NULL;
  return point->ours ? "nbdsnap" : "others";
}

/* ---- printing ---- */

static gboolean
print_json (const Facts *facts, GError **error)
{
  const SnapPoint *point = facts->point;
  g_autoptr (JsonBuilder) json = cli_json_begin ("show");

  cli_json_add_text (json, "reference", facts->reference);
  cli_json_add_text (json, "volume", facts->volume);
  cli_json_add_text (json, "kind", kind_name (point->kind));
  cli_json_add_text (json, "name", point->name);
  cli_json_add_text (json, "id", point->id);
  cli_json_add_time (json, "time", point->time_us);
  cli_json_add_uint (json, "size", point->size);
  cli_json_add_text (json, "path", facts->path);
  cli_json_add_text (json, "set", point->set_id);
  cli_json_add_text (json, "consistency", consistency_name (facts, TRUE));
  if (facts->set_known)
    cli_json_add_uint (json, "window_us", facts->set.window_us);
  if (facts->set_known && facts->set.has_guest) {
    cli_json_add_text (json, "quiesce", snap_quiesce_name (facts->set.quiesce));
    cli_json_add_uint (json, "stopped_us", facts->set.stopped_us);
    cli_json_add_uint (json, "frozen_us", facts->set.frozen_us);
  }
  cli_json_add_bool (json, "ours", point->ours);
  if (facts->held != HELD_UNKNOWN)
    cli_json_add_bool (json, "held", facts->held == HELD_YES);
  cli_json_begin_array (json, "comparable");
  for (guint i = 0; i < facts->comparable->len; i++)
    cli_json_add_element (json, g_ptr_array_index (facts->comparable, i));
  json_builder_end_array (json);
  return cli_json_print (json, error);
}

static gboolean
print_field (const char *label, const char *value, GError **error)
{
  return cli_print (error, "%-12s ", label)
         && cli_print_line (error, value != NULL ? value : "-");
}

static char *
join_words (const GPtrArray *words)
{
  GString *joined = g_string_new (NULL);

  for (guint i = 0; i < words->len; i++)
    g_string_append_printf (joined, "%s%s", i > 0 ? " " : "",
                            (const char *) g_ptr_array_index (words, i));
  return g_string_free (joined, FALSE);
}

static gboolean
print_text (const Cli *cli, const Facts *facts, GError **error)
{
  static const char *const held_words[] = { "no", "yes", "unknown" };
  const SnapPoint *point = facts->point;
  g_autofree char *created = cli_time_format (point->time_us);
  g_autofree char *size = cli_format_size (cli, point->size);
  g_autofree char *comparable = join_words (facts->comparable);
  g_autofree char *quiet =
      facts->set_known && facts->set.has_guest ? cli_quiet_format (
          facts->set.quiesce, facts->set.stopped_us, facts->set.frozen_us)
                                               : NULL;
  const char *const fields[][2] = {
    { "reference:", facts->reference },
    { "kind:", kind_name (point->kind) },
    { "name:", point->name },
    { "id:", point->id },
    { "created:", created },
    { "size:", size },
    { "path:", facts->path },
    { "set:", point->set_id },
    { "consistency:", consistency_name (facts, FALSE) },
    { "guest:", quiet },
    { "created by:", maker_name (point) },
    { "held:", held_words[facts->held] },
    { "diff from:", facts->comparable->len > 0 ? comparable : NULL },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (fields); i++)
    if (!print_field (fields[i][0], fields[i][1], error))
      return FALSE;
  return TRUE;
}

static gboolean
run (Cli *cli, GError **error)
{
  g_autoptr (CliPoint) shown = NULL;
  g_auto (Facts) facts = { 0 };

  if (cli->n_args != 1)
    return cli_usage (cli, error, "exactly one VOLUME@POINT is wanted");
  shown = cli_point_open (cli, cli->args[0], SNAP_OPEN_READ, error);
  if (shown == NULL || !collect_facts (cli, shown, &facts, error))
    return FALSE;
  return cli->options.json ? print_json (&facts, error)
                           : print_text (cli, &facts, error);
}

const CliCommand cli_command_show = {
  .verb = "show",
  .arguments = "VOLUME@POINT",
  .summary = "Tell all about one snapshot",
  .help = "\"diff from\" names the older points that it can be compared with.\n"
          "\n"
          "  nbdsnap show disk.qcow2@mon\n"
          "  nbdsnap show --json disk.qcow2@newest",
  .run = run,
};
