/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "snapshot-core/drivers/qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "snapshot-core/os/fd.h"
#include "snapshot-core/os/file-reader.h"
#include "snapshot-core/os/image-lock.h"
#include "snapshot-core/os/path.h"

static void
file_free (Qcow2File *file)
{
  g_clear_pointer (&file->header, snap_qcow2_header_free);
  g_clear_pointer (&file->reader, snap_reader_free);
  g_free (file->path);
  g_free (file);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Qcow2File, file_free)

static gint64
to_us (struct timespec time)
{
  return (gint64) time.tv_sec * G_USEC_PER_SEC + time.tv_nsec / 1000;
}

/* A file that was copied or moved here may have an old mtime, but not an old
   ctime. */
static gboolean
note_change (Qcow2File *file, int fd, GError **error)
{
  struct stat st;

  if (fstat (fd, &st) < 0)
    return snap_error_set_errno (error, errno, "%s", file->path);
  file->device = st.st_dev;
  file->inode = st.st_ino;
  file->changed_us = MAX (to_us (st.st_mtim), to_us (st.st_ctim));
  return TRUE;
}

static gboolean
looks_like_qcow2 (SnapReader *reader)
{
  static const guint8 magic[4] = { 'Q', 'F', 'I', 0xfb };
  guint8 head[sizeof magic];

  return reader->size >= sizeof head
         && snap_reader_read (reader, 0, head, sizeof head, NULL)
         && memcmp (head, magic, sizeof magic) == 0;
}

/* A format that an image names for its backing file.  Where it names none,
   which old tools left out, QEMU would guess among all the formats it knows;
   only one guess is ours to make. */
static gboolean
is_qcow2 (Qcow2File *file, const char *format, gboolean *answer, GError **error)
{
  if (format == NULL && !looks_like_qcow2 (file->reader))
    return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                           "%s: no format is named for this backing file, and "
                           "it is not qcow2 (`qemu-img rebase -u -F` names "
                           "one)",
                           file->path);
  if (format == NULL)
    format = "qcow2";
  *answer = g_str_equal (format, "qcow2");
  if (*answer || g_str_equal (format, "raw"))
    return TRUE;
  return snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                         "%s: backing format %s is neither qcow2 nor raw",
                         file->path, format);
}

static Qcow2File *
open_file (const char *path, const char *format, GError **error)
{
  g_autoptr (Qcow2File) file = g_new0 (Qcow2File, 1);
  gboolean qcow2 = FALSE;
  snap_autofd int fd = snap_image_open_read (path, error);

  file->path = g_strdup (path);
  if (fd < 0 || !note_change (file, fd, error))
    return NULL;
  /* Tables are read one by one and whole; what follows them in the file is
     data that nobody asked for. */
  (void) posix_fadvise (fd, 0, 0, POSIX_FADV_RANDOM);
  file->reader = snap_file_reader_take (snap_fd_steal (&fd), SNAP_FILE_BUFFERED,
                                        path, error);
  if (file->reader == NULL || !is_qcow2 (file, format, &qcow2, error))
    return NULL;

  /* A raw disk is served in whole sectors, as QEMU sees it. */
  file->size = (file->reader->size + 511) & ~G_GUINT64_CONSTANT (511);
  if (!qcow2)
    return g_steal_pointer (&file);

  file->header = snap_qcow2_header_read (file->reader, error);
  if (file->header == NULL) {
    g_prefix_error (error, "%s: ", path);
    return NULL;
  }
  if (file->header->data_file != NULL) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s: its data lies in an external file, which cannot "
                    "have internal snapshots",
                    path);
    return NULL;
  }
  file->size = file->header->size;
  return g_steal_pointer (&file);
}

/* The path and format of what lies below; *path NULL at the end. */
static gboolean
next_in_chain (const Qcow2File *file, char **path, const char **format,
               GError **error)
{
  *path = NULL;
  if (file->header == NULL || file->header->backing_file == NULL)
    return TRUE;
  *path = snap_path_of_backing (file->path, file->header->backing_file);
  *format = file->header->backing_format;
  return *path != NULL
         || snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                            "%s: backing file %s is not a plain file",
                            file->path, file->header->backing_file);
}

GPtrArray *
qcow2_chain_open (const char *path, GError **error)
{
  g_autoptr (GPtrArray) chain =
      g_ptr_array_new_with_free_func ((GDestroyNotify) file_free);
  g_autofree char *next = snap_path_absolute (path);
  const char *format = "qcow2";

  while (next != NULL) {
    Qcow2File *file;

    if (chain->len == QCOW2_MAX_CHAIN) {
      snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                      "%s: more than %d files in the backing chain", path,
                      QCOW2_MAX_CHAIN);
      return NULL;
    }
    file = open_file (next, format, error);
    if (file == NULL)
      return NULL;
    g_ptr_array_add (chain, file);
    g_clear_pointer (&next, g_free);
    if (!next_in_chain (file, &next, &format, error))
      return NULL;
  }
  return g_steal_pointer (&chain);
}

/* QEMU takes such a JSON text in the place of a file name.  The end of the
   chain is spelt out too: then no name in any header is ever looked at. */
char *
qcow2_chain_describe (const GPtrArray *chain, int first_fd, gboolean with_key)
{
  GString *json = g_string_new ("json:");

  for (guint i = 0; i < chain->len; i++) {
    const Qcow2File *file = g_ptr_array_index (chain, i);

    g_string_append_printf (json,
                            "{\"driver\":\"%s\",\"file\":{\"driver\":\"file\","
                            "\"filename\":\"/proc/self/fd/%u\"}",
                            file->header != NULL ? "qcow2" : "raw",
                            first_fd + i);
    if (i == 0 && with_key)
      g_string_append (json, ",\"encrypt.key-secret\":\"key\"");
    if (file->header != NULL)
      g_string_append (json, ",\"backing\":");
  }
  if (((Qcow2File *) g_ptr_array_index (chain, chain->len - 1))->header != NULL)
    g_string_append (json, "null");
  for (guint i = 0; i < chain->len; i++)
    g_string_append_c (json, '}');
  return g_string_free (json, FALSE);
}

/* ---- words of QEMU ---- */

/* The end of the object that starts at @at, strings not minded: a brace in one
   is in pairs, or the text is cut off. */
static const char *
skip_object (const char *at)
{
  guint depth = 0;

  for (; *at != '\0'; at++) {
    depth += *at == '{';
    if (*at == '}' && --depth == 0)
      return at + 1;
  }
  return at;
}

/* The path that a word of QEMU's at @at stands for, and where it ends; NULL if
   it is no such word. */
static const char *
find_meaning (const GPtrArray *chain, int first_fd, const char *at,
              const char **end)
{
  static const char descriptor[] = "/proc/self/fd/";
  static const char node[] = "#block";
  const Qcow2File *image = g_ptr_array_index (chain, 0);
  guint64 index;

  if (g_str_has_prefix (at, "json:{")) {
    *end = skip_object (at);
    return image->path;
  }
  if (g_str_has_prefix (at, node)) {
    *end = at + strlen (node);
    *end += strspn (*end, "0123456789");
    return image->path;
  }
  if (!g_str_has_prefix (at, descriptor))
    return NULL;
  index = g_ascii_strtoull (at + strlen (descriptor), (char **) end, 10)
          - (guint64) first_fd;
  return index < chain->len
             ? ((Qcow2File *) g_ptr_array_index (chain, index))->path
             : NULL;
}

char *
qcow2_chain_explain (const GPtrArray *chain, int first_fd, const char *text)
{
  GString *out = g_string_new (NULL);

  while (*text != '\0') {
    const char *end = text + 1;
    const char *path = find_meaning (chain, first_fd, text, &end);

    if (path != NULL)
      g_string_append (out, path);
    else
      g_string_append_len (out, text, end - text);
    text = end;
  }
  return g_string_free (out, FALSE);
}

/* ---- files for other programs ---- */

GArray *
qcow2_chain_reopen (const GPtrArray *chain, GError **error)
{
  g_autoptr (GArray) fds = snap_fd_array_new ();

  for (guint i = 0; i < chain->len; i++) {
    const Qcow2File *file = g_ptr_array_index (chain, i);
    int fd = snap_file_reader_reopen (file->reader, error);

    if (fd < 0)
      return NULL;
    g_array_append_val (fds, fd);
  }
  return g_steal_pointer (&fds);
}

/* ---- words for QEMU ---- */

char *
qcow2_escape_option (const char *text)
{
  g_auto (GStrv) parts = g_strsplit (text, ",", -1);

  return g_strjoinv (",,", parts);
}

char *
qcow2_secret_object (const Qcow2Volume *self)
{
  g_autofree char *file = NULL;

  if (self->secret_file == NULL)
    return NULL;
  file = qcow2_escape_option (self->secret_file);
  return g_strconcat ("secret,id=key,file=", file, NULL);
}
