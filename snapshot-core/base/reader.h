/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A reader: positioned reads from something with a size.
 *
 * What parsers in format/ are handed, so that they never see a file.  Readers
 * over memory live here; over files in os/file-reader.
 *
 * Threads: read_at may be called from many threads at once.
 */
#ifndef SNAP_BASE_READER_H
#define SNAP_BASE_READER_H

#include <glib.h>

typedef struct _SnapReader SnapReader;

/* One of several reads. */
typedef struct {
  guint64 offset;
  guint64 length;
  void *buffer;
} SnapReadPart;

/* Part @index has been read. */
typedef gboolean (*SnapReadFunc) (guint index, gpointer user_data,
                                  GError **error);

typedef struct {
  /* Read exactly [offset, offset + length), which lies inside the size. */
  gboolean (*read_at) (SnapReader *self, guint64 offset, void *buffer,
                       gsize length, GError **error);

  /* Read several such parts, many at once; NULL: one after another. */
  gboolean (*read_many) (SnapReader *self, const SnapReadPart *parts, guint n,
                         SnapReadFunc done, gpointer user_data, GError **error);
  void (*free) (SnapReader *self);
} SnapReaderOps;

/* Embedded first in an implementation's own struct. */
struct _SnapReader {
  const SnapReaderOps *ops;
  guint64 size; /* bytes; never changes */
};

/*
 * Read exactly [offset, offset + length).
 *
 * Errors: CORRUPT (the range leaves the reader's size: something pointed
 * outside), IO.
 */
gboolean snap_reader_read (SnapReader *self, guint64 offset, void *buffer,
                           gsize length, GError **error);

/*
 * Read all of @n @parts, and say of each when it is there, in any order, from
 * this thread: what @done does is done while others are under way.
 *
 * Where buffers, offsets and lengths are multiples of 4096, readers that have
 * the means have many reads under way at once.
 *
 * Errors: as above, and what @done returns; then nothing is under way any more.
 */
gboolean snap_reader_read_many (SnapReader *self, const SnapReadPart *parts,
                                guint n, SnapReadFunc done, gpointer user_data,
                                GError **error);

/*
 * Read a range into a new buffer, or fail.  @length is checked against the
 * reader's size before anything is allocated.
 */
GBytes *snap_reader_read_bytes (SnapReader *self, guint64 offset, gsize length,
                                GError **error);

void snap_reader_free (SnapReader *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapReader, snap_reader_free)

/* A reader over @bytes, on which it takes a reference. */
SnapReader *snap_reader_new_memory (GBytes *bytes);

/*
 * A reader that passes through to @inner (borrowed) and fails every read that
 * touches the byte at @bad_offset with IO.  For tests of error paths.
 */
SnapReader *snap_reader_new_faulty (SnapReader *inner, guint64 bad_offset);

#endif
