/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An nbdkit plugin that does nothing: zeroes to read, and extents that
 * alternate between hole and data and are known without looking anything up.
 * What block status costs in nbdkit, the socket and the client.
 */
#include "config.h"

#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define EXTENT 65536

static int64_t size;

static int
o1_config (const char *key, const char *value)
{
  if (strcmp (key, "size") != 0) {
    nbdkit_error ("%s: no such key", key);
    return -1;
  }
  size = nbdkit_parse_size (value);
  return size < 0 ? -1 : 0;
}

static void *
o1_open (int readonly)
{
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
o1_get_size (void *handle)
{
  return size;
}

static int
o1_can_multi_conn (void *handle)
{
  return 1;
}

static int
o1_pread (void *handle, void *buffer, uint32_t count, uint64_t offset,
          uint32_t flags)
{
  memset (buffer, 0, count);
  return 0;
}

static int
o1_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
            struct nbdkit_extents *extents)
{
  uint64_t end = offset + count;

  while (offset < end) {
    uint64_t next = (offset / EXTENT + 1) * EXTENT;
    uint64_t stop = next < end ? next : end;

    if (nbdkit_add_extent (extents, offset, stop - offset,
                           offset / EXTENT % 2 == 0 ? NBDKIT_EXTENT_HOLE : 0)
        < 0)
      return -1;
    if (flags & NBDKIT_FLAG_REQ_ONE)
      break;
    offset = stop;
  }
  return 0;
}

static struct nbdkit_plugin plugin = {
  .name = "o1",
  .config = o1_config,
  .config_help = "size=SIZE  (required) Size of the disk.",
  .open = o1_open,
  .get_size = o1_get_size,
  .can_multi_conn = o1_can_multi_conn,
  .pread = o1_pread,
  .extents = o1_extents,
};

NBDKIT_REGISTER_PLUGIN (plugin)
