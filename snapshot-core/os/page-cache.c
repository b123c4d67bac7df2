/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel is asked once for each region, before any read of ours has
 * brought a page of it in: asking before each request would take other
 * requests' pages, soon to be dropped, for somebody else's.
 */
#include "config.h"

#include "snapshot-core/os/page-cache.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes; a multiple of every page size. */
#define REGION (2 * 1024 * 1024)

struct _SnapPageCache {
  int fd; /* borrowed */
  guint64 size;
  guint64 page_size;

  /* By number, what was in memory of a region: a byte for each page, bit 0
     set; NULL for nothing at all. */
  GMutex lock;
  GHashTable *regions;
};

SnapPageCache *
snap_page_cache_new (int fd, guint64 size)
{
  SnapPageCache *self = g_new0 (SnapPageCache, 1);

  self->fd = fd;
  self->size = size;
  self->page_size = sysconf (_SC_PAGESIZE);
  self->regions =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, g_free);
  g_mutex_init (&self->lock);
  return self;
}

void
snap_page_cache_free (SnapPageCache *self)
{
  g_hash_table_unref (self->regions);
  g_mutex_clear (&self->lock);
  g_free (self);
}

/* ---- what is there ---- */

/*
 * Ask the kernel.  It says "all" to those who could not write the file, and
 * so do we where it says nothing: then nothing is dropped.
 */
static guint8 *
ask (const SnapPageCache *self, guint64 region)
{
  gsize length = MIN (REGION, self->size - region * REGION);
  gsize n_pages = (length + self->page_size - 1) / self->page_size;
  g_autofree guint8 *resident = g_malloc (n_pages);
  void *at = mmap (NULL, length, PROT_NONE, MAP_SHARED, self->fd,
                   (off_t) (region * REGION));

  if (at == MAP_FAILED || mincore (at, length, resident) < 0)
    memset (resident, 1, n_pages);
  if (at != MAP_FAILED)
    munmap (at, length);
  for (gsize i = 0; i < n_pages; i++)
    if ((resident[i] & 1) != 0)
      return g_steal_pointer (&resident);
  return NULL;
}

static gboolean
is_noted (SnapPageCache *self, guint64 region)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return g_hash_table_contains (self->regions, &region);
}

/* Whoever was first counts: nobody has read before. */
static void
note_region (SnapPageCache *self, guint64 region)
{
  g_autofree guint8 *resident = ask (self, region);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (!g_hash_table_contains (self->regions, &region))
    g_hash_table_insert (self->regions, g_memdup2 (&region, sizeof region),
                         g_steal_pointer (&resident));
}

void
snap_page_cache_note (SnapPageCache *self, guint64 offset, gsize length)
{
  guint64 end = offset + length;

  for (guint64 region = offset / REGION; region * REGION < end; region++)
    if (!is_noted (self, region))
      note_region (self, region);
}

/* ---- dropping the rest ---- */

/* The regions never change once they are noted, so that the result may be
   used without the lock. */
static const guint8 *
look_up (SnapPageCache *self, guint64 region)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return g_hash_table_lookup (self->regions, &region);
}

static void
drop (const SnapPageCache *self, guint64 offset, guint64 end)
{
  if (offset < end)
    posix_fadvise (self->fd, (off_t) offset, (off_t) (end - offset),
                   POSIX_FADV_DONTNEED);
}

/* Drop the runs of pages between [offset, end), which lies in one region. */
static void
drop_in_region (SnapPageCache *self, guint64 offset, guint64 end)
{
  guint64 base = offset - offset % REGION;
  const guint8 *resident = look_up (self, base / REGION);
  guint64 start = offset;

  if (resident != NULL)
    for (guint64 at = offset; at < end; at += self->page_size)
      if ((resident[(at - base) / self->page_size] & 1) != 0) {
        drop (self, start, at);
        start = at + self->page_size;
      }
  drop (self, start, end);
}

void
snap_page_cache_drop (SnapPageCache *self, guint64 offset, gsize length)
{
  guint64 end = offset + length;

  offset -= offset % self->page_size;
  end += (self->page_size - end % self->page_size) % self->page_size;
  while (offset < end) {
    guint64 next = MIN (end, (offset / REGION + 1) * REGION);

    drop_in_region (self, offset, next);
    offset = next;
  }
}
