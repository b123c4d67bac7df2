/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/os/file-reader.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot-core/base/error.h"
#include "snapshot-core/os/async-read.h"
#include "snapshot-core/os/fd.h"

/* What O_DIRECT asks of offsets, lengths and buffers; no device of today
   asks for more. */
#define DIRECT_ALIGNMENT 4096

/* The most that one direct read moves through its bounce buffer. */
#define DIRECT_CHUNK (1024 * 1024)

/* So few reads are done one after another. */
#define MIN_ASYNC 8

typedef struct {
  SnapReader base;
  int fd;
  char *name;
} FileReader;

/* Read up to @length bytes; *n_read is less only at the end of the file. */
static gboolean
read_up_to (FileReader *self, guint64 offset, void *buffer, gsize length,
            gsize *n_read, GError **error)
{
  *n_read = 0;
  while (*n_read < length) {
    gssize n = pread (self->fd, (guint8 *) buffer + *n_read, length - *n_read,
                      (off_t) (offset + *n_read));

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return snap_error_set_errno (error, errno,
                                   "%s: read at offset %" G_GUINT64_FORMAT,
                                   self->name, offset + *n_read);
    if (n == 0)
      break;
    *n_read += (gsize) n;
  }
  return TRUE;
}

static gboolean
has_shrunk (FileReader *self, guint64 end, GError **error)
{
  return snap_error_set (error, SNAP_ERROR_IO,
                         "%s: ends at offset %" G_GUINT64_FORMAT
                         ", had %" G_GUINT64_FORMAT " bytes",
                         self->name, end, self->base.size);
}

static gboolean
buffered_read_at (SnapReader *reader, guint64 offset, void *buffer,
                  gsize length, GError **error)
{
  FileReader *self = (FileReader *) reader;
  gsize n_read;

  if (!read_up_to (self, offset, buffer, length, &n_read, error))
    return FALSE;
  return n_read == length || has_shrunk (self, offset + n_read, error);
}

static void *
align_pointer (void *pointer)
{
  guintptr past = (guintptr) pointer % DIRECT_ALIGNMENT;

  return (guint8 *) pointer + (past > 0 ? DIRECT_ALIGNMENT - past : 0);
}

/* Read one aligned chunk around @offset and copy what was asked for; *n_done
   says how much of @length that was. */
static gboolean
direct_read_chunk (FileReader *self, guint8 *chunk, guint64 offset,
                   void *buffer, gsize length, gsize *n_done, GError **error)
{
  gsize before = offset % DIRECT_ALIGNMENT;
  gsize wanted = MIN (length, DIRECT_CHUNK - before);
  gsize past = (before + wanted) % DIRECT_ALIGNMENT;
  gsize after = past > 0 ? DIRECT_ALIGNMENT - past : 0;
  gsize n_read;

  if (!read_up_to (self, offset - before, chunk, before + wanted + after,
                   &n_read, error))
    return FALSE;
  if (n_read < before + wanted)
    return has_shrunk (self, offset - before + n_read, error);
  memcpy (buffer, chunk + before, wanted);
  *n_done = wanted;
  return TRUE;
}

static gboolean
direct_read_unaligned (SnapReader *reader, guint64 offset, void *buffer,
                       gsize length, GError **error)
{
  gsize most = MIN (length, DIRECT_CHUNK) + 2 * DIRECT_ALIGNMENT;
  g_autofree void *memory = g_malloc (most + DIRECT_ALIGNMENT);
  guint8 *chunk = align_pointer (memory);

  for (gsize done = 0, n = 0; done < length; done += n) {
    if (!direct_read_chunk ((FileReader *) reader, chunk, offset + done,
                            (guint8 *) buffer + done, length - done, &n, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
is_aligned (guint64 offset, const void *buffer, gsize length)
{
  return (offset | length | (guintptr) buffer) % DIRECT_ALIGNMENT == 0;
}

static gboolean
direct_read_at (SnapReader *reader, guint64 offset, void *buffer, gsize length,
                GError **error)
{
  if (is_aligned (offset, buffer, length))
    return buffered_read_at (reader, offset, buffer, length, error);
  return direct_read_unaligned (reader, offset, buffer, length, error);
}

static gboolean
are_aligned (const SnapReadPart *parts, guint n)
{
  for (guint i = 0; i < n; i++)
    if (!is_aligned (parts[i].offset, parts[i].buffer, parts[i].length))
      return FALSE;
  return TRUE;
}

static gboolean
read_one_by_one (SnapReader *reader, const SnapReadPart *parts, guint n,
                 SnapReadFunc done, gpointer user_data, GError **error)
{
  for (guint i = 0; i < n; i++)
    if (!direct_read_at (reader, parts[i].offset, parts[i].buffer,
                         parts[i].length, error)
        || !done (i, user_data, error))
      return FALSE;
  return TRUE;
}

static gboolean
direct_read_many (SnapReader *reader, const SnapReadPart *parts, guint n,
                  SnapReadFunc done, gpointer user_data, GError **error)
{
  FileReader *self = (FileReader *) reader;
  SnapAsyncRead *async =
      n >= MIN_ASYNC && are_aligned (parts, n) ? snap_async_read_take () : NULL;
  gboolean good;

  if (async == NULL)
    return read_one_by_one (reader, parts, n, done, user_data, error);
  good =
      snap_async_read_run (async, self->fd, parts, n, done, user_data, error);
  snap_async_read_give_back (async);
  if (!good)
    g_prefix_error (error, "%s: ", self->name);
  return good;
}

static void
file_free (SnapReader *reader)
{
  FileReader *self = (FileReader *) reader;

  snap_fd_clear (&self->fd);
  g_free (self->name);
  g_free (self);
}

static const SnapReaderOps buffered_ops = {
  .read_at = buffered_read_at,
  .free = file_free,
};

static const SnapReaderOps direct_ops = {
  .read_at = direct_read_at,
  .read_many = direct_read_many,
  .free = file_free,
};

SnapReader *
snap_file_reader_take (int fd, SnapFileMode mode, const char *name,
                       GError **error)
{
  g_autoptr (SnapReader) reader = NULL;
  FileReader *self = g_new0 (FileReader, 1);

  self->base.ops = mode == SNAP_FILE_DIRECT ? &direct_ops : &buffered_ops;
  self->fd = fd;
  self->name = g_strdup (name);
  reader = &self->base;
  if (!snap_file_size (fd, &reader->size, error)) {
    g_prefix_error (error, "%s: ", name);
    return NULL;
  }
  return g_steal_pointer (&reader);
}

int
snap_file_reader_fd (SnapReader *reader)
{
  g_return_val_if_fail (
      reader->ops == &buffered_ops || reader->ops == &direct_ops, -1);

  return ((FileReader *) reader)->fd;
}

int
snap_file_reader_reopen (SnapReader *reader, GError **error)
{
  g_autofree char *path =
      g_strdup_printf ("/proc/self/fd/%d", snap_file_reader_fd (reader));
  int fd = open (path, O_RDONLY | O_CLOEXEC);

  if (fd < 0)
    snap_error_set_errno (error, errno, "%s", ((FileReader *) reader)->name);
  return fd;
}

gboolean
snap_file_size (int fd, guint64 *size, GError **error)
{
  struct stat st;

  if (fstat (fd, &st) < 0)
    return snap_error_set_errno (error, errno, "fstat");
  if (S_ISREG (st.st_mode)) {
    *size = (guint64) st.st_size;
    return TRUE;
  }
  if (!S_ISBLK (st.st_mode))
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "neither a file nor a block device");
  if (ioctl (fd, BLKGETSIZE64, size) < 0)
    return snap_error_set_errno (error, errno, "BLKGETSIZE64");
  return TRUE;
}
