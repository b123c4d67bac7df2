/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * make-thin FILE MAPPINGS CHANGES BURST LIST: the metadata of a thin pool with
 * a volume and its snapshot, as the kernel lays it out.
 *
 * Device 2 is the snapshot.  Device 1 maps MAPPINGS chunks to blocks of data
 * in no order, and was then written to in CHANGES of them: every node on the
 * way to one has been shadowed once, and all others are shared.
 *
 * The volume was filled from its beginning to its end, so its first nodes lie
 * in the order of their keys.  A shadow lies where the first change below it
 * found room: changes come in random order, in bursts of BURST that are
 * sorted.  Nodes hold 168 to 252 entries: what splits leave behind, and what
 * was then added.  Space maps are written too, for thin_check.
 *
 * LIST gets the numbers of all blocks that are in one of the two trees of
 * mappings only, as 64-bit words: what has to be read to tell what changed.
 * Source of the format: linux drivers/md/dm-thin-metadata.c and
 * drivers/md/persistent-data.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "snapshot-core/base/crc32c.h"

#define BLOCK 4096
#define SUPERBLOCK_SALT 160774
#define NODE_SALT 121107
#define BITMAP_SALT 240779
#define INDEX_SALT 160478

#define INTERNAL 1
#define LEAF 2
#define NODE_HEADER 32
#define MAX_ENTRIES 252
#define MIN_FILL 168
#define MAX_LEVELS 6

#define CHUNK_SECTORS 128

/* Reference counts of two bits in a bitmap block. */
#define COUNTS_PER_BITMAP ((BLOCK - 16) * 4)
#define MAX_BITMAPS 255
#define ROOM_TO_SPARE 256

typedef struct {
  guint64 n_nodes;
  guint64 *begin;  /* of each: its first key or child; one more at the end */
  guint64 *old;    /* block in device 2 */
  guint64 *shadow; /* block in device 1, 0 where it is shared */
} Level;

typedef struct {
  guint64 n_mappings, n_changes;
  guint32 *change_of; /* of each key: 1 + number of its change, or 0 */
  Level levels[MAX_LEVELS];
  guint n_levels;

  guint8 *blocks; /* the file */
  guint64 n_blocks, next;
  guint8 *counts;      /* references to each block of metadata */
  guint8 *data_counts; /* and of data */
} Pool;

static void
fail (const char *object)
{
  fprintf (stderr, "make-thin: %s: %s\n", object, strerror (errno));
  exit (1);
}

/* ---- chance, the same in every run ---- */

static guint64
mix (guint64 x)
{
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

/* A permutation of the numbers below @n: four rounds on two halves, again
   until the result is below. */
static guint64
permute (guint64 x, guint64 n, guint64 seed)
{
  guint half = 1;

  while (1ull << 2 * half < n)
    half++;
  do {
    guint64 left = x >> half, right = x & ((1ull << half) - 1);

    for (guint64 round = 0; round < 4; round++) {
      guint64 next =
          left ^ (mix (right + (seed + round) * 0x9e3779b97f4a7c15) >> 20);

      left = right;
      right = next & ((1ull << half) - 1);
    }
    x = left << half | right;
  } while (x >= n);
  return x;
}

/* ---- blocks ---- */

static void
put32 (guint8 *at, guint32 value)
{
  value = GUINT32_TO_LE (value);
  memcpy (at, &value, sizeof value);
}

static void
put64 (guint8 *at, guint64 value)
{
  value = GUINT64_TO_LE (value);
  memcpy (at, &value, sizeof value);
}

static guint64
take_block (Pool *self)
{
  if (self->next == self->n_blocks) {
    errno = ENOSPC;
    fail ("metadata");
  }
  self->counts[self->next] = 1;
  return self->next++;
}

static guint8 *
block_at (Pool *self, guint64 block)
{
  return self->blocks + block * BLOCK;
}

static void
seal (Pool *self, guint64 block, guint32 salt)
{
  guint8 *at = block_at (self, block);

  put32 (at, snap_crc32c (G_MAXUINT32, at + 4, BLOCK - 4) ^ salt);
}

/* The place of value @index in a node whose header is written. */
static guint8 *
begin_node (Pool *self, guint64 block, guint32 flags, guint32 n,
            guint32 value_size)
{
  guint8 *at = block_at (self, block);
  guint32 max = (BLOCK - NODE_HEADER) / (8 + value_size) / 3 * 3;

  put32 (at + 4, flags);
  put64 (at + 8, block);
  put32 (at + 16, n);
  put32 (at + 20, max);
  put32 (at + 24, value_size);
  return at + NODE_HEADER + max * 8;
}

static void
put_key (Pool *self, guint64 block, guint32 index, guint64 key)
{
  put64 (block_at (self, block) + NODE_HEADER + index * 8, key);
}

/* ---- the shape of the trees ---- */

/* How many of @rest the next node takes: never so many that the last has too
   few. */
static guint64
choose_fill (guint64 rest, guint64 seed)
{
  guint64 fill = MIN_FILL + mix (seed) % (MAX_ENTRIES - MIN_FILL + 1);

  if (rest <= MAX_ENTRIES)
    return rest;
  return rest < fill + MIN_FILL ? rest / 2 : fill;
}

static void
shape_level (Level *level, guint64 n_below, guint64 seed)
{
  guint64 room = n_below / MIN_FILL + 2;
  guint64 at = 0;

  level->begin = g_new0 (guint64, room);
  level->old = g_new0 (guint64, room);
  level->shadow = g_new0 (guint64, room);
  while (at < n_below) {
    level->begin[level->n_nodes++] = at;
    at += choose_fill (n_below - at, seed + level->n_nodes);
  }
  level->begin[level->n_nodes] = n_below;
}

static void
shape (Pool *self)
{
  guint64 n = self->n_mappings;

  do {
    Level *level = &self->levels[self->n_levels];

    shape_level (level, n, 1000 * ++self->n_levels);
    n = level->n_nodes;
  } while (n > 1);
}

/* The node of @level that holds @below. */
static guint64
find_node (const Level *level, guint64 below)
{
  guint64 low = 0, high = level->n_nodes;

  while (high - low > 1) {
    guint64 middle = low + (high - low) / 2;

    if (level->begin[middle] <= below)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* ---- places ---- */

/* As a volume is filled: a node when its first key comes. */
static void
place_old (Pool *self)
{
  const Level *leaves = &self->levels[0];
  guint64 done[MAX_LEVELS] = { 0 };

  for (guint64 leaf = 0; leaf < leaves->n_nodes; leaf++) {
    guint64 index = leaf;

    for (guint i = 0; i < self->n_levels; i++) {
      if (i > 0)
        index = find_node (&self->levels[i], index);
      if (index < done[i])
        break;
      self->levels[i].old[index] = take_block (self);
      done[i] = index + 1;
    }
  }
}

static void
shadow_path (Pool *self, guint64 key)
{
  guint64 path[MAX_LEVELS];

  for (guint i = 0; i < self->n_levels; i++)
    path[i] = find_node (&self->levels[i], i == 0 ? key : path[i - 1]);
  for (guint i = self->n_levels; i-- > 0;)
    if (self->levels[i].shadow[path[i]] == 0)
      self->levels[i].shadow[path[i]] = take_block (self);
}

static int
compare_keys (const void *a, const void *b)
{
  guint64 x = *(const guint64 *) a, y = *(const guint64 *) b;

  return (x > y) - (x < y);
}

static void
place_shadows (Pool *self, guint64 burst)
{
  guint64 *keys = g_new (guint64, burst);

  for (guint64 done = 0; done < self->n_changes; done += burst) {
    guint64 n = MIN (burst, self->n_changes - done);

    for (guint64 i = 0; i < n; i++) {
      keys[i] = permute (done + i, self->n_mappings, 7);
      self->change_of[keys[i]] = (guint32) (done + i + 1);
    }
    qsort (keys, n, sizeof *keys, compare_keys);
    for (guint64 i = 0; i < n; i++)
      shadow_path (self, keys[i]);
  }
  g_free (keys);
}

/* ---- the trees of mappings ---- */

static void
write_leaf (Pool *self, guint64 index, guint64 block, gboolean is_shadow)
{
  const Level *leaves = &self->levels[0];
  guint64 begin = leaves->begin[index], end = leaves->begin[index + 1];
  guint8 *values = begin_node (self, block, LEAF, (guint32) (end - begin), 8);

  for (guint64 key = begin; key < end; key++) {
    guint32 change = is_shadow ? self->change_of[key] : 0;
    guint64 data = change > 0 ? self->n_mappings + change - 1
                              : permute (key, self->n_mappings, 3);

    put_key (self, block, (guint32) (key - begin), key);
    put64 (values + (key - begin) * 8, data << 24 | (change > 0));
    self->data_counts[data]++;
  }
  seal (self, block, NODE_SALT);
}

/* The first key below a node. */
static guint64
first_key (const Pool *self, guint level, guint64 index)
{
  for (guint i = level + 1; i-- > 0;)
    index = self->levels[i].begin[index];
  return index;
}

static void
write_internal (Pool *self, guint level, guint64 index, guint64 block,
                gboolean is_shadow)
{
  const Level *below = &self->levels[level - 1];
  guint64 begin = self->levels[level].begin[index];
  guint64 end = self->levels[level].begin[index + 1];
  guint8 *values =
      begin_node (self, block, INTERNAL, (guint32) (end - begin), 8);

  for (guint64 child = begin; child < end; child++) {
    gboolean shared = !is_shadow || below->shadow[child] == 0;

    put_key (self, block, (guint32) (child - begin),
             first_key (self, level - 1, child));
    put64 (values + (child - begin) * 8,
           shared ? below->old[child] : below->shadow[child]);
    self->counts[below->old[child]] += is_shadow && shared;
  }
  seal (self, block, NODE_SALT);
}

static void
write_trees (Pool *self)
{
  for (guint level = 0; level < self->n_levels; level++)
    for (guint64 i = 0; i < self->levels[level].n_nodes; i++)
      for (int is_shadow = 0; is_shadow < 2; is_shadow++) {
        guint64 block = is_shadow ? self->levels[level].shadow[i]
                                  : self->levels[level].old[i];

        if (block == 0)
          continue;
        if (level == 0)
          write_leaf (self, i, block, is_shadow);
        else
          write_internal (self, level, i, block, is_shadow);
      }
}

static void
write_list (const Pool *self, const char *path)
{
  FILE *file = fopen (path, "wb");

  for (guint level = 0; file != NULL && level < self->n_levels; level++)
    for (guint64 i = 0; i < self->levels[level].n_nodes; i++)
      if (self->levels[level].shadow[i] != 0) {
        fwrite (&self->levels[level].old[i], 8, 1, file);
        fwrite (&self->levels[level].shadow[i], 8, 1, file);
      }
  if (file == NULL || fclose (file) != 0)
    fail (path);
}

/* ---- the devices ---- */

static guint64
write_devices (Pool *self, guint64 *details)
{
  const Level *top = &self->levels[self->n_levels - 1];
  guint64 mappings = take_block (self);
  guint8 *roots = begin_node (self, mappings, LEAF, 2, 8);
  guint8 *about;

  *details = take_block (self);
  about = begin_node (self, *details, LEAF, 2, 24);
  put64 (roots, top->shadow[0] != 0 ? top->shadow[0] : top->old[0]);
  put64 (roots + 8, top->old[0]);
  for (guint32 i = 0; i < 2; i++) {
    put_key (self, mappings, i, i + 1);
    put_key (self, *details, i, i + 1);
    put64 (about + i * 24, self->n_mappings);
    put64 (about + i * 24 + 8, i);
    put32 (about + i * 24 + 16, i);
    put32 (about + i * 24 + 20, 1);
  }
  seal (self, mappings, NODE_SALT);
  seal (self, *details, NODE_SALT);
  return mappings;
}

/* ---- space maps ---- */

typedef struct {
  guint64 block;
  guint32 n_free, first_free;
} Bitmap;

static void
put_count (guint8 *bits, guint64 index, guint8 count)
{
  guint64 bit = index * 2;

  bits[bit / 8] |= (guint8) ((count >> 1 & 1) << bit % 8);
  bits[bit / 8] |= (guint8) ((count & 1) << (bit % 8 + 1));
}

/* Fill the block of @bitmap with the counts from @begin on. */
static void
write_bitmap (Pool *self, Bitmap *bitmap, const guint8 *counts, guint64 n)
{
  guint8 *at = block_at (self, bitmap->block);

  put64 (at + 8, bitmap->block);
  bitmap->first_free = (guint32) n;
  for (guint64 i = n; i-- > 0;) {
    put_count (at + 16, i, counts[i]);
    if (counts[i] == 0) {
      bitmap->n_free++;
      bitmap->first_free = (guint32) i;
    }
  }
  seal (self, bitmap->block, BITMAP_SALT);
}

static void
put_bitmap (guint8 *at, const Bitmap *bitmap)
{
  put64 (at, bitmap->block);
  put32 (at + 8, bitmap->n_free);
  put32 (at + 12, bitmap->first_free);
}

/* No block is referred to more than twice, so there is nothing in it. */
static guint64
write_no_large_counts (Pool *self)
{
  guint64 block = take_block (self);

  begin_node (self, block, LEAF, 0, 4);
  seal (self, block, NODE_SALT);
  return block;
}

/* A tree of two levels at most over all bitmaps. */
static guint64
write_bitmap_tree (Pool *self, const Bitmap *bitmaps, guint64 n)
{
  const guint64 fill = 126;
  guint64 n_leaves = (n + fill - 1) / fill;
  guint64 root = n_leaves > 1 ? take_block (self) : 0;
  guint8 *children =
      root > 0 ? begin_node (self, root, INTERNAL, (guint32) n_leaves, 8)
               : NULL;

  for (guint64 i = 0; i < n_leaves; i++) {
    guint64 leaf = take_block (self);
    guint64 first = i * fill, in_leaf = MIN (fill, n - first);
    guint8 *values = begin_node (self, leaf, LEAF, (guint32) in_leaf, 16);

    for (guint64 j = 0; j < in_leaf; j++) {
      put_key (self, leaf, (guint32) j, first + j);
      put_bitmap (values + j * 16, &bitmaps[first + j]);
    }
    seal (self, leaf, NODE_SALT);
    if (root == 0)
      return leaf;
    put_key (self, root, (guint32) i, first);
    put64 (children + i * 8, leaf);
  }
  seal (self, root, NODE_SALT);
  return root;
}

static guint64
count_used (const guint8 *counts, guint64 n)
{
  guint64 used = 0;

  for (guint64 i = 0; i < n; i++)
    used += counts[i] > 0;
  return used;
}

static void
write_data_map (Pool *self, guint8 *root)
{
  guint64 n = self->n_mappings + self->n_changes;
  guint64 n_bitmaps = (n + COUNTS_PER_BITMAP - 1) / COUNTS_PER_BITMAP;
  Bitmap *bitmaps = g_new0 (Bitmap, n_bitmaps);

  for (guint64 i = 0; i < n_bitmaps; i++) {
    guint64 first = i * COUNTS_PER_BITMAP;

    bitmaps[i].block = take_block (self);
    write_bitmap (self, &bitmaps[i], self->data_counts + first,
                  MIN (COUNTS_PER_BITMAP, n - first));
  }
  put64 (root, n);
  put64 (root + 8, count_used (self->data_counts, n));
  put64 (root + 16, write_bitmap_tree (self, bitmaps, n_bitmaps));
  put64 (root + 24, write_no_large_counts (self));
  g_free (bitmaps);
}

/* Comes last: it counts its own blocks. */
static void
write_metadata_map (Pool *self, guint8 *root)
{
  guint64 n = self->n_blocks;
  guint64 n_bitmaps = (n + COUNTS_PER_BITMAP - 1) / COUNTS_PER_BITMAP;
  Bitmap bitmaps[MAX_BITMAPS] = { 0 };
  guint64 index = take_block (self);

  put64 (root, n);
  put64 (root + 16, index);
  put64 (root + 24, write_no_large_counts (self));
  for (guint64 i = 0; i < n_bitmaps; i++)
    bitmaps[i].block = take_block (self);
  put64 (root + 8, count_used (self->counts, n));
  put64 (block_at (self, index) + 8, index);
  for (guint64 i = 0; i < n_bitmaps; i++) {
    guint64 first = i * COUNTS_PER_BITMAP;

    write_bitmap (self, &bitmaps[i], self->counts + first,
                  MIN (COUNTS_PER_BITMAP, n - first));
    put_bitmap (block_at (self, index) + 16 + i * 16, &bitmaps[i]);
  }
  seal (self, index, INDEX_SALT);
}

/* ---- all of it ---- */

static void
write_superblock (Pool *self)
{
  guint8 *at = block_at (self, 0);
  guint64 details;
  guint64 mappings = write_devices (self, &details);

  put64 (at + 32, 27022010);
  put32 (at + 40, 2);
  put32 (at + 44, 1);
  put64 (at + 48, 2);
  write_data_map (self, at + 64);
  write_metadata_map (self, at + 192);
  put64 (at + 320, mappings);
  put64 (at + 328, details);
  put32 (at + 336, CHUNK_SECTORS);
  put32 (at + 340, BLOCK / 512);
  put64 (at + 344, self->n_blocks);
  seal (self, 0, SUPERBLOCK_SALT);
}

/* Room for both trees and the space maps. */
static guint64
most_blocks (const Pool *self)
{
  guint64 n = (self->n_mappings + self->n_changes) / 16000 * 2;

  for (guint i = 0; i < self->n_levels; i++)
    n += self->levels[i].n_nodes
         + MIN (self->levels[i].n_nodes, self->n_changes);
  return n + ROOM_TO_SPARE;
}

static void
map_file (Pool *self, const char *path)
{
  int fd = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  size_t size = self->n_blocks * BLOCK;

  /* Room that is reserved lies together, as on a device. */
  if (fd < 0 || posix_fallocate (fd, 0, (off_t) size) != 0)
    fail (path);
  self->blocks = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (self->blocks == MAP_FAILED)
    fail (path);
  close (fd);
}

int
main (int argc, char **argv)
{
  Pool pool = { 0 };

  if (argc != 6)
    return fprintf (stderr,
                    "usage: make-thin FILE MAPPINGS CHANGES BURST LIST\n"),
           2;
  pool.n_mappings = strtoull (argv[2], NULL, 10);
  pool.n_changes = strtoull (argv[3], NULL, 10);
  pool.change_of = g_new0 (guint32, pool.n_mappings);
  pool.data_counts = g_new0 (guint8, pool.n_mappings + pool.n_changes);
  shape (&pool);
  pool.n_blocks = most_blocks (&pool);
  pool.counts = g_new0 (guint8, pool.n_blocks);
  map_file (&pool, argv[1]);
  take_block (&pool); /* the superblock */
  place_old (&pool);
  place_shadows (&pool, strtoull (argv[4], NULL, 10));
  pool.counts[pool.levels[pool.n_levels - 1].old[0]] = 1;
  write_trees (&pool);
  write_list (&pool, argv[5]);
  write_superblock (&pool);
  if (msync (pool.blocks, pool.n_blocks * BLOCK, MS_SYNC) != 0)
    fail (argv[1]);
  return 0;
}
