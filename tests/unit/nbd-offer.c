/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "tests/unit/nbd-offer.h"

typedef struct {
  const char *name;
  const char *const *bases;
} Export;

static const char *const bases[] = { "old", "older", NULL };
static const char *const no_bases[] = { NULL };
static const Export exports[] = { { "disk", bases }, { "plain", no_bases } };

static void
list (gpointer data, SnapNbdNameFunc func, gpointer user_data)
{
  for (gsize i = 0; i < G_N_ELEMENTS (exports); i++)
    func (exports[i].name, "for tests", user_data);
}

static gpointer
open_export (gpointer data, const char *name, SnapNbdExportInfo *info)
{
  for (gsize i = 0; i < G_N_ELEMENTS (exports); i++)
    if (g_str_equal (exports[i].name, name) || (i == 0 && *name == '\0')) {
      *info =
          (SnapNbdExportInfo){ NBD_OFFER_SIZE, exports[i].name, "for tests" };
      ((NbdOfferUse *) data)->n_open++;
      return (gpointer) &exports[i];
    }
  return NULL;
}

static void
close_export (gpointer data, gpointer export)
{
  ((NbdOfferUse *) data)->n_open--;
}

static void
list_bases (gpointer export, SnapNbdBaseFunc func, gpointer user_data)
{
  for (const char *const *base = ((const Export *) export)->bases;
       *base != NULL; base++)
    func (*base, user_data);
}

static gboolean
has_base (gpointer export, const char *base)
{
  return g_strv_contains (((const Export *) export)->bases, base);
}

const SnapNbdOffer nbd_offer = {
  .list = list,
  .open = open_export,
  .close = close_export,
  .list_bases = list_bases,
  .has_base = has_base,
};
