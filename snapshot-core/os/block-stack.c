/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/block-stack.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "snapshot-core/os/fd.h"

/* Far above any stack; and what is mounted on itself ends. */
#define MAX_DEPTH 32

static gboolean lies_on (dev_t upper, dev_t lower, guint depth);

/* ---- the device of a file system ---- */

/* The number of the mount that an open file is reached through; 0 if there is
   none. */
static guint
read_mount_id (int fd)
{
  g_autofree char *path = g_strdup_printf ("/proc/self/fdinfo/%d", fd);
  g_autofree char *text = NULL;
  const char *line;
  guint id = 0;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return 0;
  line = strstr (text, "mnt_id:");
  return line != NULL && sscanf (line, "mnt_id: %u", &id) == 1 ? id : 0;
}

/* What was mounted, as mount was told; the caller frees.  A line is
   "ID PARENT MAJOR:MINOR ROOT WHERE OPTIONS … - TYPE SOURCE OPTIONS", with
   blanks in words as \040. */
static char *
find_mount_source (guint mount_id)
{
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;

  if (!g_file_get_contents ("/proc/self/mountinfo", &text, NULL, NULL))
    return NULL;
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line != NULL; line++) {
    const char *end = strstr (*line, " - ");
    g_auto (GStrv) words = NULL;

    if (end == NULL || strtoul (*line, NULL, 10) != mount_id)
      continue;
    words = g_strsplit (end + strlen (" - "), " ", 3);
    return g_strv_length (words) == 3 ? g_strcompress (words[1]) : NULL;
  }
  return NULL;
}

/* The device that a path is on; 0 if there is none. */
static dev_t
device_of (const char *path)
{
  snap_autofd int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  g_autofree char *source = NULL;
  struct stat st;

  if (fd < 0 || fstat (fd, &st) < 0)
    return 0;
  if (major (st.st_dev) != 0)
    return st.st_dev;
  /* A number without a driver behind it, as btrfs has. */
  source = find_mount_source (read_mount_id (fd));
  if (source == NULL || stat (source, &st) < 0 || !S_ISBLK (st.st_mode))
    return 0;
  return st.st_rdev;
}

/* ---- what is beneath a device ---- */

static char *
sys_path (dev_t device, const char *rest)
{
  return g_strdup_printf ("/sys/dev/block/%u:%u/%s", major (device),
                          minor (device), rest);
}

/* The number in a file like /sys/block/sda/dev; 0 if there is none. */
static dev_t
read_number (const char *path)
{
  g_autofree char *text = NULL;
  guint high, low;

  if (!g_file_get_contents (path, &text, NULL, NULL)
      || sscanf (text, "%u:%u", &high, &low) != 2)
    return 0;
  return makedev (high, low);
}

static gboolean
number_lies_on (const char *path, dev_t lower, guint depth)
{
  dev_t device = read_number (path);

  return device != 0 && lies_on (device, lower, depth);
}

static gboolean
slaves_lie_on (dev_t upper, dev_t lower, guint depth)
{
  g_autofree char *folder = sys_path (upper, "slaves");
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *path = g_build_filename (folder, name, "dev", NULL);

    if (number_lies_on (path, lower, depth))
      return TRUE;
  }
  return FALSE;
}

static gboolean
partition_lies_on (dev_t upper, dev_t lower, guint depth)
{
  g_autofree char *mark = sys_path (upper, "partition");
  g_autofree char *whole = sys_path (upper, "../dev");

  return g_file_test (mark, G_FILE_TEST_EXISTS)
         && number_lies_on (whole, lower, depth);
}

static gboolean
loop_lies_on (dev_t upper, dev_t lower, guint depth)
{
  g_autofree char *path = sys_path (upper, "loop/backing_file");
  g_autofree char *file = NULL;
  dev_t device;

  if (!g_file_get_contents (path, &file, NULL, NULL))
    return FALSE;
  device = device_of (g_strchomp (file));
  return device != 0 && lies_on (device, lower, depth);
}

static gboolean
lies_on (dev_t upper, dev_t lower, guint depth)
{
  if (upper == lower)
    return TRUE;
  if (depth == 0)
    return FALSE;
  depth--;
  return slaves_lie_on (upper, lower, depth)
         || partition_lies_on (upper, lower, depth)
         || loop_lies_on (upper, lower, depth);
}

gboolean
snap_path_lies_on (const char *path, const char *device)
{
  dev_t upper = device_of (path);
  struct stat st;

  return upper != 0 && stat (device, &st) == 0 && S_ISBLK (st.st_mode)
         && lies_on (upper, st.st_rdev, MAX_DEPTH);
}
