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
#include <sys/syscall.h>
#include <unistd.h>

/* Bytes; a multiple of every page size. */
#define REGION (2 * 1024 * 1024)

/* What was in memory of a region: all of it, nothing (NULL), or a byte for each
   page with bit 0 set. */
static guint8 all_of_it[1];

/* What the kernel takes of one request to read ahead, bytes: the rest, beyond a
   limit of the device, is left out without a word.  The limit is never below
   the first of these, and nothing is gained above the second. */
#define MIN_PREFETCH (128 * 1024)
#define MAX_PREFETCH (4 * 1024 * 1024)

struct _SnapPageCache {
  int fd; /* borrowed */
  guint64 size;
  guint64 page_size;
  gint prefetch_limit; /* atomic */

  GMutex lock;              /* guards the rest */
  GHashTable *regions;      /* by number, what was in memory */
  guint64 first_done, done; /* from the one to before the other all are noted:
                               those of a client that reads on and on */
};

static void
free_region (gpointer resident)
{
  if (resident != all_of_it)
    g_free (resident);
}

SnapPageCache *
snap_page_cache_new (int fd, guint64 size)
{
  SnapPageCache *self = g_new0 (SnapPageCache, 1);

  self->fd = fd;
  self->size = size;
  self->page_size = sysconf (_SC_PAGESIZE);
  self->prefetch_limit = -MIN_PREFETCH;
  self->regions = g_hash_table_new_full (NULL, NULL, NULL, free_region);
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

/* Linux 6.5 counts pages without mapping them. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

typedef struct {
  guint64 offset, length;
} CacheRange;

typedef struct {
  guint64 n_cached, n_dirty, n_writeback, n_evicted, n_recently_evicted;
} CacheCounts;

/* FALSE if the kernel does not tell. */
static gboolean
count_cached (int fd, guint64 offset, guint64 length, guint64 *n_pages)
{
  CacheRange range = { offset, length };
  CacheCounts counts = { 0 };
  gboolean told = syscall (SYS_cachestat, fd, &range, &counts, 0) == 0;

  *n_pages = counts.n_cached;
  return told;
}

static guint8 *
copy_if_mixed (guint8 *resident, gsize n_pages)
{
  gsize n = 0;

  for (gsize i = 0; i < n_pages; i++)
    n += resident[i] & 1;
  if (n == 0 || n == n_pages)
    return n == 0 ? NULL : all_of_it;
  return g_memdup2 (resident, n_pages);
}

/*
 * Ask the kernel page by page.  It says "all" to those who could not write the
 * file, and so do we where it says nothing: then nothing is dropped.
 */
static guint8 *
ask_for_each (const SnapPageCache *self, guint64 offset, gsize length,
              gsize n_pages)
{
  g_autofree guint8 *resident = g_malloc (n_pages);
  void *at =
      mmap (NULL, length, PROT_NONE, MAP_SHARED, self->fd, (off_t) offset);

  if (at == MAP_FAILED || mincore (at, length, resident) < 0)
    memset (resident, 1, n_pages);
  if (at != MAP_FAILED)
    munmap (at, length);
  return copy_if_mixed (resident, n_pages);
}

static guint8 *
ask (const SnapPageCache *self, guint64 region)
{
  guint64 offset = region * REGION;
  gsize length = MIN (REGION, self->size - offset);
  gsize n_pages = (length + self->page_size - 1) / self->page_size;
  guint64 n_cached;

  if (count_cached (self->fd, offset, length, &n_cached)) {
    if (n_cached == 0)
      return NULL;
    if (n_cached == n_pages)
      return all_of_it;
  }
  return ask_for_each (self, offset, length, n_pages);
}

static gboolean
is_noted (SnapPageCache *self, guint64 region)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return g_hash_table_contains (self->regions, GSIZE_TO_POINTER (region));
}

/* Whoever was first counts: nobody has read before. */
static void
note_region (SnapPageCache *self, guint64 region)
{
  guint8 *resident = ask (self, region);
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (g_hash_table_contains (self->regions, GSIZE_TO_POINTER (region)))
    free_region (resident);
  else
    g_hash_table_insert (self->regions, GSIZE_TO_POINTER (region), resident);
}

static gboolean
are_done (SnapPageCache *self, guint64 first, guint64 end)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return first >= self->first_done && end <= self->done;
}

static void
set_done (SnapPageCache *self, guint64 first, guint64 end)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (first < self->first_done || first > self->done)
    self->first_done = self->done = first;
  self->done = MAX (self->done, end);
}

void
snap_page_cache_note (SnapPageCache *self, guint64 offset, gsize length)
{
  guint64 first = offset / REGION;
  guint64 end = (offset + length + REGION - 1) / REGION;

  if (length == 0 || are_done (self, first, end))
    return;
  for (guint64 region = first; region < end; region++)
    if (!is_noted (self, region))
      note_region (self, region);
  set_done (self, first, end);
}

/* ---- reading ahead ---- */

static void
will_need (const SnapPageCache *self, guint64 offset, guint64 length)
{
  (void) posix_fadvise (self->fd, (off_t) offset, (off_t) length,
                        POSIX_FADV_WILLNEED);
}

/*
 * Ask for more than before, and see whether it was taken.  The limit is negative
 * until one was found that is not.  Returns how far that went.
 */
static guint64
try_limit (SnapPageCache *self, guint64 offset, guint64 length)
{
  guint64 known = -g_atomic_int_get (&self->prefetch_limit);
  guint64 n = MIN (2 * known, length);
  guint64 before, after;
  gboolean told = count_cached (self->fd, offset, n, &before);

  will_need (self, offset, n);
  if (!told || !count_cached (self->fd, offset, n, &after)
      || (before == 0 && after * self->page_size < n)) {
    g_atomic_int_set (&self->prefetch_limit, known);
    return known;
  }
  if (before == 0 && n == 2 * known)
    g_atomic_int_set (&self->prefetch_limit, n < MAX_PREFETCH ? -n : n);
  return before == 0 ? n : MIN (known, n);
}

void
snap_page_cache_prefetch (SnapPageCache *self, guint64 offset, gsize length)
{
  guint64 end = offset + length;

  while (offset < end) {
    gint limit = g_atomic_int_get (&self->prefetch_limit);
    guint64 n = MIN (end - offset, (guint64) ABS (limit));

    if (limit < 0 && end - offset > n)
      n = try_limit (self, offset, end - offset);
    else
      will_need (self, offset, n);
    offset += n;
  }
}

/* ---- what was there ---- */

/* The regions never change once they are noted, so that the result may be
   used without the lock. */
static const guint8 *
look_up (SnapPageCache *self, guint64 region)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return g_hash_table_lookup (self->regions, GSIZE_TO_POINTER (region));
}

gboolean
snap_page_cache_had (SnapPageCache *self, guint64 offset, gsize length)
{
  guint64 end = offset + length;

  for (guint64 region = offset / REGION; region * REGION < end; region++)
    if (look_up (self, region) != all_of_it)
      return FALSE;
  return TRUE;
}

/* ---- dropping the rest ---- */

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

  if (resident == all_of_it)
    return;
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
