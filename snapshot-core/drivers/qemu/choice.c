/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

#include <string.h>

/* copy-before-write knows on-cbw-error and cbw-timeout since 7.1. */
#define COPIER_VERSION 70100

/*
 * Up to here a client that hangs up ends QEMU, and the guest with it, if the
 * node that it read is handled by an iothread: an assertion in
 * nbd_blockdev_client_closed() fails there.
 */
#define READERS_VERSION 90000

static const struct {
  const char *word;
  QemuMechanism mechanism;
} mechanisms[] = {
  { "cbw", QEMU_COPY_BEFORE_WRITE },
  { "fleece", QEMU_FLEECE },
};

#define NAMED_DEVICES "/machine/peripheral/"

char *
qemu_device_path (const QmpDisk *disk)
{
  if (disk->qdev == NULL || disk->qdev[0] == '\0')
    return NULL;
  if (disk->qdev[0] == '/')
    return g_strdup (disk->qdev);
  return g_strconcat (NAMED_DEVICES, disk->qdev, NULL);
}

/* A property that is a text, or NULL; the caller frees. */
static char *
get_property (QemuSession *session, const char *path, const char *property)
{
  g_autoptr (JsonNode) value =
      qemu_ask (session, "qom-get",
                qemu_object ("path", path, "property", property, NULL), NULL);

  if (value == NULL || !JSON_NODE_HOLDS_VALUE (value)
      || json_node_get_value_type (value) != G_TYPE_STRING)
    return NULL;
  return json_node_dup_string (value);
}

/* The object at @path or one that it is part of. */
static gboolean
is_in_iothread (QemuSession *session, const char *path)
{
  g_autofree char *at = g_strdup (path);

  for (char *end = at + strlen (at); end != NULL && end > at;
       end = strrchr (at, '/')) {
    g_autofree char *iothread = NULL;

    *end = '\0';
    iothread = get_property (session, at, "iothread");
    if (iothread != NULL && iothread[0] != '\0')
      return TRUE;
  }
  return FALSE;
}

/* A disk on a bus is served by the thread of the bus's controller. */
static gboolean
device_has_iothread (QemuSession *session, const char *path)
{
  g_autofree char *bus = get_property (session, path, "parent_bus");

  return is_in_iothread (session, path)
         || (bus != NULL && is_in_iothread (session, bus));
}

static gboolean
check_readers (QemuSession *session, const QemuVolume *volume,
               const QmpDisk *disk, GError **error)
{
  g_autofree char *path = qemu_device_path (disk);

  if (path == NULL || qmp_client_version (session->client) >= READERS_VERSION
      || !device_has_iothread (session, path))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "%s: the disk has an iothread, and a QEMU before 9.0 "
                         "would end, with its guest, when a reader hangs up",
                         volume->parent.location);
}

/* Others keep filters in the graph that are not shown, and that a filter of
   ours would take out of it. */
static gboolean
check_jobs (const QemuView *view, const QemuVolume *volume, GError **error)
{
  GHashTableIter jobs;
  gpointer id, status;

  g_hash_table_iter_init (&jobs, view->jobs);
  while (g_hash_table_iter_next (&jobs, &id, &status))
    if (!qemu_part_parse (id, QEMU_JOB, NULL, NULL)
        && !qemu_part_parse (id, QEMU_FORMAT, NULL, NULL)
        && !g_str_equal (status, "concluded") && !g_str_equal (status, "null"))
      return snap_error_set (error, SNAP_ERROR_BUSY,
                             "%s: another job (%s) is at work in its QEMU",
                             volume->parent.location, (const char *) id);
  return TRUE;
}

static gboolean
check_disk (const QemuVolume *volume, const QmpDisk *disk, GError **error)
{
  if (disk->read_only)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: the disk is read-only",
                           volume->parent.location);
  if (disk->encrypted && !volume->force)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: encrypted, and its scratch file would hold "
                           "plain bytes: not done unless forced",
                           volume->parent.location);
  return TRUE;
}

static gboolean
parse_mechanism (const QemuVolume *volume, QemuMechanism *mechanism,
                 GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (mechanisms); i++)
    if (g_str_equal (volume->mechanism, mechanisms[i].word)) {
      *mechanism = mechanisms[i].mechanism;
      return TRUE;
    }
  return snap_error_set (error, SNAP_ERROR_USAGE,
                         "%s: no such mechanism: auto, cbw, or fleece",
                         volume->mechanism);
}

/* A backup job takes its filter away with it, and with that the bookkeeping of
   a filter of ours right above: QEMU ends with a failed assertion. */
static gboolean
is_over_fleecer (const QmpDisk *disk)
{
  return qemu_part_parse (disk->top, QEMU_FLEECER, NULL, NULL);
}

/* While processors stand still the filters of all disks get in at one instant,
   and when its scratch is full it is the snapshot that suffers. */
static QemuMechanism
choose_best (QemuSession *session, const QemuVolume *volume,
             const QmpDisk *disk)
{
  return volume->quiesce != SNAP_QUIESCE_NONE && disk->qdev != NULL
                 && !is_over_fleecer (disk)
                 && qmp_client_version (session->client) >= COPIER_VERSION
             ? QEMU_COPY_BEFORE_WRITE
             : QEMU_FLEECE;
}

gboolean
qemu_choose (QemuSession *session, const QemuView *view,
             const QemuVolume *volume, const QmpDisk *disk,
             QemuMechanism *mechanism, GError **error)
{
  if (volume->mechanism == NULL || g_str_equal (volume->mechanism, "auto"))
    *mechanism = choose_best (session, volume, disk);
  else if (!parse_mechanism (volume, mechanism, error))
    return FALSE;
  if (*mechanism == QEMU_COPY_BEFORE_WRITE && disk->qdev == NULL)
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: no device that a filter can be put under",
                           volume->parent.location);
  if (*mechanism == QEMU_COPY_BEFORE_WRITE && is_over_fleecer (disk))
    return snap_error_set (error, SNAP_ERROR_BUSY,
                           "%s: a snapshot by the mechanism fleece is there, "
                           "and must end first",
                           volume->parent.location);
  return check_disk (volume, disk, error) && check_jobs (view, volume, error)
         && check_readers (session, volume, disk, error);
}
