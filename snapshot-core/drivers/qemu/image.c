/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a point, and what of it is zeroes.
 *
 * What QEMU says of zeroes is not always of the
 * moment of the cut: the block status of a snapshot-access node can show the
 * disk as it is now (QEMU 7.2), and that of a scratch image over the disk
 * does so when the guest writes just then.  So zeroes are believed only where
 * the scratch image has taken up nothing by the time that they were told: there
 * the guest has written nothing, and the disk is what it was.  Reads go over
 * connections without any context: over others QEMU would leave out what it
 * takes for zeroes.
 */
#include "config.h"

#include "snapshot-core/drivers/qemu/qemu.h"

/* As many as read at once over one export. */
#define N_CONNECTIONS 4

#define DEPTH "qemu:allocation-depth"
#define TAKEN_UP 1

/* Bytes, as QEMU has it where the scratch image has clusters of 64 KiB. */
#define COPIED_AT_ONCE 65536

/* How much is looked at in one go, bytes. */
#define STRETCH (G_GUINT64_CONSTANT (256) << 20)

SnapNbdSource *
qemu_connect (const QemuVolume *volume, const SnapPoint *point, QemuPart part,
              const char *context, guint n_connections, GError **error)
{
  g_autofree char *path = qemu_server_path (volume->socket);
  g_autofree char *id = qemu_part_name (point->set_id, volume->tag, part);
  g_autofree char *name =
      g_strdup_printf ("%s@%s", volume->parent.location, point->name);

  return snap_nbd_source_connect (path, "QEMU", id,
                                  (const char *const[]){ context, NULL },
                                  n_connections, name, error);
}

/* ---- zeroes ---- */

struct _QemuContent {
  SnapNbdSource *data;
  SnapNbdSource *zeroes; /* the same export */
  SnapNbdSource *scratch;
};

QemuContent *
qemu_content_open (const QemuVolume *volume, const SnapPoint *point,
                   GError **error)
{
  g_autoptr (QemuContent) self = g_new0 (QemuContent, 1);

  self->data =
      qemu_connect (volume, point, QEMU_DATA, NULL, N_CONNECTIONS, error);
  if (self->data != NULL)
    self->zeroes =
        qemu_connect (volume, point, QEMU_DATA, SNAP_NBD_ALLOCATION, 1, error);
  if (self->zeroes != NULL)
    self->scratch = qemu_connect (volume, point, QEMU_TAKEN, DEPTH, 1, error);
  return self->scratch != NULL ? g_steal_pointer (&self) : NULL;
}

void
qemu_content_close (QemuContent *self)
{
  snap_nbd_source_close (self->data);
  snap_nbd_source_close (self->zeroes);
  snap_nbd_source_close (self->scratch);
  g_free (self);
}

typedef struct {
  guint64 begin, end;
} Range;

static gboolean
take_range (GArray *ranges, guint64 offset, guint64 length)
{
  Range range = { offset, offset + length };

  g_array_append_val (ranges, range);
  return TRUE;
}

static gboolean
take_zeroes (guint64 offset, guint64 length, guint32 flags, gpointer user_data,
             GError **error)
{
  return (flags & SNAP_NBD_ZERO) == 0 || take_range (user_data, offset, length);
}

static gboolean
take_taken (guint64 offset, guint64 length, guint32 flags, gpointer user_data,
            GError **error)
{
  return flags != TAKEN_UP || take_range (user_data, offset, length);
}

/* Pieces are joined before they are handed on. */
typedef struct {
  SnapExtentFunc emit;
  gpointer user_data;
  SnapExtent pending; /* of length 0 at first */
  gboolean enough;    /* the receiver has said so, which is no error */
} Joiner;

static gboolean
emit_pending (Joiner *self, GError **error)
{
  GError *reason = NULL;

  if (self->emit (&self->pending, self->user_data, &reason))
    return TRUE;
  self->enough = reason == NULL;
  if (reason != NULL)
    g_propagate_error (error, reason);
  return FALSE;
}

static gboolean
flush_piece (Joiner *self, GError **error)
{
  return self->pending.length == 0 || emit_pending (self, error);
}

static gboolean
emit_piece (Joiner *self, guint64 end, gboolean zero, GError **error)
{
  SnapExtent *pending = &self->pending;
  guint64 begin = pending->offset + pending->length;
  SnapExtentFlags flags = zero ? SNAP_EXTENT_HOLE | SNAP_EXTENT_ZERO : 0;

  if (end <= begin)
    return TRUE;
  if (pending->length > 0 && pending->flags == flags) {
    pending->length = end - pending->offset;
    return TRUE;
  }
  if (!flush_piece (self, error))
    return FALSE;
  *pending = (SnapExtent){ begin, end - begin, flags };
  return TRUE;
}

/* Zeroes, without what was taken up; *next is the first range of @taken that
   ends behind them. */
static gboolean
emit_zeroes (Joiner *joiner, const Range *zeroes, const GArray *taken,
             guint *next, GError **error)
{
  if (!emit_piece (joiner, zeroes->begin, FALSE, error))
    return FALSE;
  for (; *next < taken->len; ++*next) {
    const Range *range = &g_array_index (taken, Range, *next);

    if (range->begin >= zeroes->end)
      break;
    if (!emit_piece (joiner, range->begin, TRUE, error)
        || !emit_piece (joiner, MIN (range->end, zeroes->end), FALSE, error))
      return FALSE;
    if (range->end > zeroes->end)
      break;
  }
  return emit_piece (joiner, zeroes->end, TRUE, error);
}

static gboolean
emit_stretch (QemuContent *self, guint64 offset, guint64 length, Joiner *joiner,
              GError **error)
{
  g_autoptr (GArray) zeroes = g_array_new (FALSE, FALSE, sizeof (Range));
  g_autoptr (GArray) taken = g_array_new (FALSE, FALSE, sizeof (Range));
  guint next = 0;

  /* In this order. */
  if (!snap_nbd_source_status (self->zeroes, SNAP_NBD_ALLOCATION, offset,
                               length, take_zeroes, zeroes, error)
      || !snap_nbd_source_status (self->scratch, DEPTH, offset, length,
                                  take_taken, taken, error))
    return FALSE;
  for (guint i = 0; i < zeroes->len; i++)
    if (!emit_zeroes (joiner, &g_array_index (zeroes, Range, i), taken, &next,
                      error))
      return FALSE;
  return emit_piece (joiner, offset + length, FALSE, error);
}

gboolean
qemu_content_extents (QemuContent *self, guint64 offset, guint64 length,
                      SnapExtentFunc emit, gpointer user_data, GError **error)
{
  Joiner joiner = { .emit = emit, .user_data = user_data };

  joiner.pending.offset = offset;
  for (guint64 done = 0; done < length;) {
    guint64 stretch = MIN (length - done, STRETCH);

    if (!emit_stretch (self, offset + done, stretch, &joiner, error))
      return joiner.enough;
    done += stretch;
  }
  return flush_piece (&joiner, error) || joiner.enough;
}

/* ---- images ---- */

typedef struct {
  SnapImage parent;
  QemuContent *content;
} QemuImage;

/* One read for each piece that a copier copies as a whole.  QEMU 7.2 answers a
   read through a snapshot-access node that begins in what was copied and goes
   on into what was not with the disk as it is now. */
static gboolean
image_read_at (SnapImage *self, guint64 offset, void *buffer, gsize length,
               GError **error)
{
  SnapNbdSource *data = ((QemuImage *) self)->content->data;

  for (gsize done = 0; done < length;) {
    gsize piece = COPIED_AT_ONCE - (offset + done) % COPIED_AT_ONCE;

    piece = MIN (piece, length - done);
    if (!snap_nbd_source_read (data, offset + done, (guint8 *) buffer + done,
                               piece, error))
      return FALSE;
    done += piece;
  }
  return TRUE;
}

static gboolean
image_extents (SnapImage *self, guint64 offset, guint64 length,
               SnapExtentFunc emit, gpointer user_data, GError **error)
{
  return qemu_content_extents (((QemuImage *) self)->content, offset, length,
                               emit, user_data, error);
}

static void
image_close (SnapImage *self)
{
  qemu_content_close (((QemuImage *) self)->content);
  g_free (self);
}

static const SnapImageOps image_ops = {
  .struct_size = sizeof image_ops,
  .read_at = image_read_at,
  .extents = image_extents,
  .close = image_close,
};

static gboolean
check_size (const SnapVolume *volume, const SnapPoint *point,
            const QemuContent *content, GError **error)
{
  guint64 size = snap_nbd_source_size (content->data);

  return (size == point->size
          && snap_nbd_source_size (content->scratch) == size)
         || snap_error_set (error, SNAP_ERROR_CORRUPT,
                            "%s@%s: QEMU gives %" G_GUINT64_FORMAT
                            " bytes and not %" G_GUINT64_FORMAT,
                            volume->location, point->name, size, point->size);
}

SnapImage *
qemu_image_open (SnapVolume *volume, const SnapPoint *point, GError **error)
{
  g_autoptr (QemuContent) content = NULL;
  QemuImage *image;

  if (point->kind != SNAP_POINT_SNAPSHOT) {
    snap_error_set (error, SNAP_ERROR_UNSUPPORTED,
                    "%s@%s: has no data that could be read", volume->location,
                    point->name);
    return NULL;
  }
  content = qemu_content_open ((QemuVolume *) volume, point, error);
  if (content == NULL || !check_size (volume, point, content, error))
    return NULL;
  image = g_new0 (QemuImage, 1);
  image->parent.ops = &image_ops;
  image->parent.size = point->size;
  image->content = g_steal_pointer (&content);
  return &image->parent;
}
