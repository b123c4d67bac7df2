/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/image/image.h"

#include <sys/stat.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"
#include "snapshot-core/os/image-lock.h"
#include "snapshot-core/os/path.h"

static void
file_free (ImageFile *file)
{
  g_clear_pointer (&file->header, snap_disk_image_free);
  g_clear_pointer (&file->reader, snap_reader_free);
  g_free (file->path);
  g_free (file);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImageFile, file_free)

static ImageFile *
open_file (const char *path, GError **error)
{
  g_autoptr (ImageFile) file = g_new0 (ImageFile, 1);
  int fd = snap_image_open_read (path, error);
  struct stat st;

  if (fd < 0)
    return NULL;
  file->path = g_strdup (path);
  file->is_device = fstat (fd, &st) == 0 && S_ISBLK (st.st_mode);
  file->reader = snap_file_reader_take (fd, SNAP_FILE_BUFFERED, path, error);
  return file->reader != NULL ? g_steal_pointer (&file) : NULL;
}

/* *format as it was named, or as the file begins. */
static gboolean
read_header (ImageFile *file, const SnapDiskFormat *named, GError **error)
{
  SnapDiskFormat format = named != NULL ? *named : SNAP_DISK_RAW;

  if (named != NULL || snap_disk_format_detect (file->reader, &format, error))
    file->header = snap_disk_image_read (file->reader, format, error);
  if (file->header != NULL)
    return TRUE;
  g_prefix_error (error, "%s: ", file->path);
  return FALSE;
}

/* The path of what lies below and its format, NULL where that is not named;
   *path NULL at the end. */
static gboolean
next_in_chain (const ImageFile *file, char **path, const SnapDiskFormat **named,
               GError **error)
{
  const SnapDiskImage *header = file->header;

  *path = NULL;
  if (header->backing_file == NULL)
    return TRUE;
  *named = header->backing_is_named ? &header->backing_format : NULL;
  *path = snap_path_of_backing (file->path, header->backing_file);
  return *path != NULL
         || snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                            "%s: backing file %s is not a plain file",
                            file->path, header->backing_file);
}

static GPtrArray *
follow (const char *path, const SnapDiskFormat *named, GError **error)
{
  g_autoptr (GPtrArray) chain =
      g_ptr_array_new_with_free_func ((GDestroyNotify) file_free);
  g_autofree char *next = snap_path_absolute (path);

  while (next != NULL) {
    ImageFile *file;

    if (chain->len == IMAGE_MAX_CHAIN) {
      snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                      "%s: more than %d files in the backing chain", path,
                      IMAGE_MAX_CHAIN);
      return NULL;
    }
    file = open_file (next, error);
    if (file == NULL)
      return NULL;
    g_ptr_array_add (chain, file);
    g_clear_pointer (&next, g_free);
    if (!read_header (file, named, error)
        || !next_in_chain (file, &next, &named, error))
      return NULL;
  }
  return g_steal_pointer (&chain);
}

GPtrArray *
image_chain_open (const char *path, const char *format, GError **error)
{
  SnapDiskFormat named;

  if (format == NULL)
    return follow (path, NULL, error);
  if (snap_disk_format_parse (format, &named))
    return follow (path, &named, error);
  snap_error_set (error, SNAP_ERROR_USAGE,
                  "%s#%s: no such format, it is one of %s", path, format,
                  snap_disk_format_names ());
  return NULL;
}

GArray *
image_chain_reopen (const GPtrArray *chain, GError **error)
{
  g_autoptr (GArray) fds = snap_fd_array_new ();

  for (guint i = 0; i < chain->len; i++) {
    const ImageFile *file = g_ptr_array_index (chain, i);
    int fd = snap_file_reader_reopen (file->reader, error);

    if (fd < 0)
      return NULL;
    g_array_append_val (fds, fd);
  }
  return g_steal_pointer (&fds);
}
