/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/qcow2-model.h"

#include <string.h>

#define COPIED (G_GUINT64_CONSTANT (1) << 63)
#define COMPRESSED (G_GUINT64_CONSTANT (1) << 62)

/* Places in the file that clusters are put at. */
#define N_PLACES 6

Qcow2Model *
qcow2_model_new (const SnapQcow2Header *header)
{
  Qcow2Model *self = g_new0 (Qcow2Model, 1);
  guint64 clusters =
      (header->size + header->cluster_size - 1) / header->cluster_size;

  self->size = header->size;
  self->granularity =
      header->extended_l2 ? header->cluster_size / 32 : header->cluster_size;
  self->per_cluster = header->cluster_size / self->granularity;
  self->n = clusters * self->per_cluster;
  self->granules = g_new0 (Qcow2Granule, self->n);
  return self;
}

Qcow2Model *
qcow2_model_dup (const Qcow2Model *self)
{
  Qcow2Model *copy = g_memdup2 (self, sizeof *self);

  copy->granules = g_memdup2 (self->granules, self->n * sizeof (Qcow2Granule));
  return copy;
}

void
qcow2_model_free (Qcow2Model *self)
{
  g_free (self->granules);
  g_free (self);
}

static void
change_cluster (Qcow2Model *self, Qcow2Granule *cluster, GRand *random,
                const SnapQcow2Header *header)
{
  guint64 place = (guint64) g_rand_int_range (random, 1, N_PLACES + 1);
  gboolean compressed = g_rand_int_range (random, 0, 5) == 0;
  /* QEMU changes a few subclusters at a time as often as all of them. */
  gboolean mixed = g_rand_boolean (random);
  SnapQcow2Kind kind = SNAP_QCOW2_UNALLOCATED;

  for (guint64 i = 0; i < self->per_cluster; i++) {
    if (i == 0 || (mixed && g_rand_int_range (random, 0, 4) == 0))
      kind = (SnapQcow2Kind) g_rand_int_range (random, 0, 3);
    if (kind == SNAP_QCOW2_ZERO && header->version == 2)
      kind = SNAP_QCOW2_UNALLOCATED;
    cluster[i].kind = compressed ? SNAP_QCOW2_COMPRESSED : kind;
    cluster[i].location = 0;
    if (compressed)
      cluster[i].location = COMPRESSED | (place * 700 + 3);
    else if (kind == SNAP_QCOW2_DATA)
      cluster[i].location =
          place * header->cluster_size + i * self->granularity;
  }
}

void
qcow2_model_change (Qcow2Model *self, GRand *random,
                    const SnapQcow2Header *header, guint n_clusters)
{
  gint32 clusters = (gint32) (self->n / self->per_cluster);

  for (guint i = 0; i < n_clusters; i++)
    change_cluster (self,
                    self->granules
                        + (guint) g_rand_int_range (random, 0, clusters)
                              * self->per_cluster,
                    random, header);
}

/* ---- writing ---- */

/* The descriptor and the bits of one cluster.  One without data is given a
   place now and then, as preallocation does. */
static void
encode_cluster (const Qcow2Model *self, const Qcow2Granule *cluster,
                GRand *random, guint64 *descriptor, guint64 *subclusters)
{
  guint64 spare = g_rand_boolean (random) ? 0 : 9;

  *descriptor = *subclusters = 0;
  for (guint64 i = 0; i < self->per_cluster; i++) {
    if (cluster[i].kind == SNAP_QCOW2_DATA) {
      *descriptor = cluster[i].location - i * self->granularity;
      *subclusters |= G_GUINT64_CONSTANT (1) << i;
    }
    else if (cluster[i].kind == SNAP_QCOW2_ZERO) {
      *subclusters |= G_GUINT64_CONSTANT (1) << (32 + i);
    }
  }
  if (cluster->kind == SNAP_QCOW2_COMPRESSED)
    *descriptor = cluster->location;
  else if (*descriptor == 0 && (*subclusters != 0 || self->per_cluster > 1))
    *descriptor = spare * self->granularity * self->per_cluster;
  if (self->per_cluster == 1 && cluster->kind == SNAP_QCOW2_ZERO)
    *descriptor |= 1;
  if (*descriptor != 0 && cluster->kind != SNAP_QCOW2_COMPRESSED
      && g_rand_boolean (random))
    *descriptor |= COPIED;
}

/* Make one L1 entry point to the table of another L1 table where both have
   the same entries but for COPIED. */
static void
share_table (Qcow2Image *image, guint64 own, guint64 other)
{
  guint64 a = qcow2_image_get64 (image, own);
  guint64 b = qcow2_image_get64 (image, other);
  guint64 step = image->extended_l2 ? 16 : 8;

  if (a == 0 || b == 0)
    return;
  for (guint64 i = 0; i < image->cluster_size; i += 8) {
    guint64 mask = i % step == 0 ? ~COPIED : ~G_GUINT64_CONSTANT (0);

    if (((qcow2_image_get64 (image, (a & ~COPIED) + i)
          ^ qcow2_image_get64 (image, (b & ~COPIED) + i))
         & mask)
        != 0)
      return;
  }
  qcow2_image_put (image, own, 8, b ^ COPIED);
}

guint64
qcow2_model_store (const Qcow2Model *self, Qcow2Image *image, GRand *random,
                   guint64 share)
{
  guint64 l1_offset = qcow2_image_add (image, image->l1_size * 8);

  for (guint64 i = 0; i < self->n; i += self->per_cluster) {
    guint64 descriptor, subclusters;

    encode_cluster (self, self->granules + i, random, &descriptor,
                    &subclusters);
    if (descriptor != 0 || subclusters != 0)
      qcow2_image_map (image, l1_offset, i / self->per_cluster, descriptor,
                       subclusters);
  }
  for (guint32 i = 0; share != 0 && i < image->l1_size; i++)
    share_table (image, l1_offset + i * 8, share + i * 8);
  return l1_offset;
}

Qcow2Granule
qcow2_model_at (const Qcow2Model *self, guint64 offset)
{
  Qcow2Granule granule = self->granules[offset / self->granularity];

  if (granule.kind == SNAP_QCOW2_DATA)
    granule.location += offset % self->granularity;
  return granule;
}
