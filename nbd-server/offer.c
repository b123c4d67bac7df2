/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/offer.h"

void
snap_nbd_client_clear (SnapNbdClient *self)
{
  g_clear_pointer (&self->kept, snap_export_close);
}

static void
offer_list (gpointer data, SnapNbdNameFunc func, gpointer user_data)
{
  const SnapNbdClient *self = data;

  snap_exports_list (self->exports, func, user_data);
}

/* Why there is none is not for the client: names that exist and cannot be
   opened look like those that do not. */
static gpointer
offer_open (gpointer data, const char *name, SnapNbdExportInfo *info)
{
  const SnapNbdClient *self = data;
  SnapExport *export = snap_export_open (self->exports, name, NULL);

  if (export != NULL)
    *info = (SnapNbdExportInfo){
      .size = snap_export_size (export),
      .name = snap_export_name (export),
      .description = snap_export_description (export),
    };
  return export;
}

static void
offer_close (gpointer data, gpointer export)
{
  SnapNbdClient *self = data;

  snap_nbd_client_clear (self);
  self->kept = export;
}

static void
offer_list_bases (gpointer export, SnapNbdBaseFunc func, gpointer user_data)
{
  snap_export_list_bases (export, func, user_data);
}

static gboolean
offer_has_base (gpointer export, const char *base)
{
  return snap_export_find_pair (export, base, NULL) != NULL;
}

const SnapNbdOffer snap_nbd_exports_offer = {
  .list = offer_list,
  .open = offer_open,
  .close = offer_close,
  .list_bases = offer_list_bases,
  .has_base = offer_has_base,
};
