/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "cli/command.h"

#include "cli/guest.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/leftovers.h"
#include "cli/output.h"
#include "cli/points.h"
#include "cli/progress.h"
#include "snapshot-core/service/set.h"

/* A day, in seconds. */
#define MAX_HOOK_TIMEOUT (24 * 60 * 60)

static char *name;
static gboolean atomic;
static gboolean force;
static char *pre_cut;
static char *post_cut;
static int hook_timeout = 60;
static CliGuestOptions guest_options;

static const GOptionEntry options[] = {
  { "name", 'n', 0, G_OPTION_ARG_STRING, &name,
    "Name of the snapshots (default: the UTC time)", "NAME" },
  { "atomic", 0, 0, G_OPTION_ARG_NONE, &atomic,
    "Refuse unless all volumes are cut at one instant", NULL },
  { "force", 0, 0, G_OPTION_ARG_NONE, &force,
    "Go on where cutting would keep writers waiting for long", NULL },
  { "pre-cut", 0, 0, G_OPTION_ARG_FILENAME, &pre_cut,
    "Shell command to run just before; nothing is cut if it fails", "CMD" },
  { "post-cut", 0, 0, G_OPTION_ARG_FILENAME, &post_cut,
    "Shell command to run just after, whatever happened since", "CMD" },
  { "hook-timeout", 0, 0, G_OPTION_ARG_INT, &hook_timeout,
    "How long each of these commands may take (default: 60)", "SECONDS" },
  { "qmp", 0, 0, G_OPTION_ARG_FILENAME, &guest_options.monitor,
    "QMP socket of the guest whose disks are meant", "SOCKET" },
  { "agent", 0, 0, G_OPTION_ARG_FILENAME, &guest_options.agent,
    "Socket of its guest agent", "SOCKET" },
  { "domain", 0, 0, G_OPTION_ARG_STRING, &guest_options.domain,
    "The same, of a domain that libvirt answers for", "NAME" },
  { "connect", 0, 0, G_OPTION_ARG_STRING, &guest_options.connect,
    "Where that libvirt is (default: as virsh finds it)", "URI" },
  { "disk", 0, 0, G_OPTION_ARG_STRING_ARRAY, &guest_options.disks,
    "One of its disks; may be repeated (default: all)", "DEVICE" },
  { "quiesce", 0, 0, G_OPTION_ARG_STRING, &guest_options.quiesce,
    "How it is kept quiet: agent, pause or none (default: agent if there is "
    "one, else pause)",
    "HOW" },
  { "mechanism", 0, 0, G_OPTION_ARG_STRING, &guest_options.mechanism,
    "How disks are cut that QEMU cuts, see nbdsnap-qemu(1)", "HOW" },
  { "scratch", 0, 0, G_OPTION_ARG_FILENAME, &guest_options.scratch_dir,
    "Where what the guest overwrites is kept (default: beside its image)",
    "DIR" },
  { "consumer", 0, 0, G_OPTION_ARG_STRING, &guest_options.consumer,
    "For whom changes are tracked from here on, see nbdsnap-ack(1)", "NAME" },
  G_OPTION_ENTRY_NULL
};

/* Add a volume that is not there yet; takes @added. */
static gboolean
add_volume (const Cli *cli, GPtrArray *volumes, const char *text,
            SnapVolume *added, GError **error)
{
  for (guint i = 0; i < volumes->len; i++)
    if (snap_volume_equal (g_ptr_array_index (volumes, i), added)) {
      snap_volume_unref (added);
      return cli_usage (cli, error, "%s: is the same volume as one before it",
                        text);
    }
  g_ptr_array_add (volumes, added);
  return TRUE;
}

/* Open the guest's disks and every VOLUME for snapshots; SnapVolume unreffed
   by the array. */
static GPtrArray *
open_volumes (Cli *cli, SnapGuest *guest, GError **error)
{
  g_autoptr (GPtrArray) volumes =
      g_ptr_array_new_with_free_func ((GDestroyNotify) snap_volume_unref);

  if (guest != NULL
      && !cli_guest_open_disks (cli, &guest_options, guest, volumes, error))
    return NULL;
  for (guint i = 0; i < cli->n_args; i++) {
    SnapVolume *added =
        cli_volume_open (cli, cli->args[i], SNAP_OPEN_MANAGE, error);

    if (added == NULL || !add_volume (cli, volumes, cli->args[i], added, error))
      return NULL;
  }
  return g_steal_pointer (&volumes);
}

/* Whether the set is as good as one instant; a single volume always is. */
static gboolean
is_one_instant (const SnapSet *set)
{
  return set->consistency == SNAP_SET_ATOMIC || set->points->len == 1;
}

/* Weaker than was asked for: more than one instant, or the guest stood still
   already and could not be frozen. */
static gboolean
is_weaker (const SnapSet *set)
{
  return !is_one_instant (set)
         || (set->has_guest
             && set->quiesce < cli_guest_wanted (&guest_options));
}

static void
add_guest_json (JsonBuilder *json, const SnapSet *set)
{
  if (!set->has_guest)
    return;
  cli_json_add_text (json, "quiesce", snap_quiesce_name (set->quiesce));
  cli_json_add_uint (json, "stopped_us", set->stopped_us);
  cli_json_add_uint (json, "frozen_us", set->frozen_us);
}

static gboolean
print_json (const SnapSet *set, const GPtrArray *volumes, GError **error)
{
  g_autoptr (JsonBuilder) json = cli_json_begin ("create");

  cli_json_add_text (json, "name", set->name);
  cli_json_add_text (json, "set", set->set_id);
  cli_json_add_text (json, "consistency",
                     is_one_instant (set) ? "atomic" : "sequential");
  cli_json_add_uint (json, "window_us", set->window_us);
  add_guest_json (json, set);
  if (post_cut != NULL)
    cli_json_add_text (json, "post_cut_failure", set->post_cut_failure);
  cli_json_begin_array (json, "snapshots");
  for (guint i = 0; i < set->points->len; i++) {
    const SnapPoint *point = g_ptr_array_index (set->points, i);
    g_autofree char *reference = snap_volume_format_reference (
        g_ptr_array_index (volumes, i), point->name);

    json_builder_begin_object (json);
    cli_json_add_text (json, "reference", reference);
    cli_json_add_text (json, "id", point->id);
    cli_json_add_uint (json, "size", point->size);
    json_builder_end_object (json);
  }
  json_builder_end_array (json);
  return cli_json_print (json, error);
}

static gboolean
print_guest (const SnapSet *set, GError **error)
{
  g_autofree char *quiet = NULL;

  if (!set->has_guest)
    return TRUE;
  quiet = cli_quiet_format (set->quiesce, set->stopped_us, set->frozen_us);
  return cli_print (error, "guest: %s\n", quiet);
}

static gboolean
print_text (const Cli *cli, const SnapSet *set, const GPtrArray *volumes,
            GError **error)
{
  for (guint i = 0; i < set->points->len; i++) {
    const SnapPoint *point = g_ptr_array_index (set->points, i);
    g_autofree char *reference = snap_volume_format_reference (
        g_ptr_array_index (volumes, i), point->name);

    if (!cli_print_line (error, reference))
      return FALSE;
  }
  if (cli->options.quiet)
    return TRUE;
  return cli_print (error,
                    "window: %" G_GUINT64_FORMAT ".%03u ms\n"
                    "consistency: %s\n",
                    set->window_us / 1000, (guint) (set->window_us % 1000),
                    is_one_instant (set) ? "atomic" : "one after another")
         && print_guest (set, error);
}

static SnapSet *
cut (Cli *cli, const GPtrArray *volumes, SnapGuest *guest,
     GCancellable *cancellable, GError **error)
{
  g_autofree char *default_name = name == NULL ? snap_name_default () : NULL;
  g_autofree char *what = g_strdup_printf ("cutting %u volumes", volumes->len);
  const SnapHooks hooks = { pre_cut, post_cut, (guint) hook_timeout * 1000 };
  const SnapSetSpec spec = {
    .name = name != NULL ? name : default_name,
    .flags = atomic ? SNAP_SET_REQUIRE_ATOMIC : SNAP_SET_DEFAULT,
    .guest = guest,
    .hooks = &hooks,
  };
  CliProgress progress = { 0 };
  SnapSet *set;

  if (volumes->len > 1)
    cli_progress_init (&progress, what, cli->options.progress);
  cli_progress_update (&progress, 0, 0);
  set = snap_set_create (cli->state, (SnapVolume **) volumes->pdata,
                         volumes->len, &spec, cancellable, error);
  cli_progress_clear (&progress);
  return set;
}

/* Signals undo what was done instead of ending the process. */
static SnapSet *
create_set (Cli *cli, GPtrArray **volumes, GError **error)
{
  g_autoptr (CliInterrupt) interrupt = cli_interrupt_new ();
  g_autoptr (SnapGuest) guest = NULL;

  if (!cli_leftovers_finish (cli, error)
      || !cli_guest_open (&guest_options, &guest, error))
    return NULL;
  *volumes = open_volumes (cli, guest, error);
  if (*volumes == NULL || !cli_interrupt_check (interrupt, error))
    return NULL;
  return cut (cli, *volumes, guest, cli_interrupt_cancellable (interrupt),
              error);
}

static gboolean
print (const Cli *cli, const SnapSet *set, const GPtrArray *volumes,
       GError **error)
{
  return (cli->options.json ? print_json (set, volumes, error)
                            : print_text (cli, set, volumes, error))
         && cli_output_flush (error);
}

/* A set whose name nobody was told is undone: what fails changes nothing. */
static gboolean
take_back (Cli *cli, const SnapSet *set, const GPtrArray *volumes,
           GError **error)
{
  g_autoptr (GArray) members =
      g_array_new (FALSE, FALSE, sizeof (SnapSetMember));
  g_autoptr (GError) reason = NULL;

  for (guint i = 0; i < set->points->len; i++) {
    SnapSetMember member = { g_ptr_array_index (volumes, i),
                             g_ptr_array_index (set->points, i) };

    g_array_append_val (members, member);
  }
  if (snap_set_delete (cli->state, (SnapSetMember *) members->data,
                       members->len, &reason))
    return FALSE;
  g_clear_error (error);
  return snap_error_set (error, reason->code,
                         "standard output: cannot be written, and the set %s "
                         "stays: %s",
                         set->name, reason->message);
}

static gboolean
check_hooks (const Cli *cli, GError **error)
{
  if (hook_timeout < 1 || hook_timeout > MAX_HOOK_TIMEOUT)
    return cli_usage (cli, error, "--hook-timeout: wants 1 to %d seconds",
                      MAX_HOOK_TIMEOUT);
  return TRUE;
}

/* The set is there, and all is said of it, where something about it is not as
   asked. */
static void
tell_shortfall (Cli *cli, const SnapSet *set)
{
  if (set->post_cut_failure != NULL)
    cli_say ("%s", set->post_cut_failure);
  if (is_weaker (set) || set->post_cut_failure != NULL)
    cli->exit_code = CLI_EXIT_WEAKER;
}

static gboolean
run (Cli *cli, GError **error)
{
  g_autoptr (GPtrArray) volumes = NULL;
  g_autoptr (SnapSet) set = NULL;

  if (cli->n_args == 0 && !cli_guest_is_named (&guest_options))
    return cli_usage (cli, error, "no volume is named");
  if (!check_hooks (cli, error) || !cli_guest_check (cli, &guest_options, error)
      || (name != NULL && !snap_name_check (name, error)))
    return FALSE;
  cli->force = force;
  set = create_set (cli, &volumes, error);
  if (set == NULL)
    return FALSE;
  tell_shortfall (cli, set);
  return print (cli, set, volumes, error)
         || take_back (cli, set, volumes, error);
}

const CliCommand cli_command_create = {
  .verb = "create",
  .arguments = "VOLUME…",
  .summary = "Take a snapshot of every volume, or of none",
  .help = "Several volumes that cannot be cut at one instant are cut one\n"
          "after another: then the exit code is 4, or 1 with --atomic.\n"
          "\n"
          "With --qmp or --domain the disks of a running guest are meant, "
          "whatever they\n"
          "lie on; it is kept quiet for the moment of the cut, and seen to\n"
          "run again.\n"
          "\n"
          "  nbdsnap create --qmp /run/vm1.qmp --agent /run/vm1.qga\n"
          "  nbdsnap create -n mon disk.qcow2\n"
          "  nbdsnap create -q root.qcow2 data.qcow2",
  .options = options,
  .run = run,
};
