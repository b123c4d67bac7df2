/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <string.h>

#include "nbd-server/handshake-private.h"

/* ---- LIST_META_CONTEXT ---- */

typedef struct {
  Option *option;
  GPtrArray *queries; /* char *; none: everything */
} Listing;

static gboolean
is_wanted (const Listing *self, const char *name)
{
  for (guint i = 0; i < self->queries->len; i++)
    if (snap_nbd_context_matches (g_ptr_array_index (self->queries, i), name))
      return TRUE;
  return self->queries->len == 0;
}

/* Ids of a list mean nothing. */
static void
list_one (Listing *self, SnapNbdContextKind kind, const char *base)
{
  g_autofree char *name = snap_nbd_context_name (kind, base);

  if (strlen (name) <= SNAP_NBD_MAX_STRING && is_wanted (self, name))
    snap_nbd_append_context (self->option->out, self->option->code, 0, name);
}

static gboolean
list_dirty (const char *base, gpointer listing)
{
  list_one (listing, SNAP_NBD_CONTEXT_DIRTY, base);
  return TRUE;
}

static gboolean
list_clean (const char *base, gpointer listing)
{
  list_one (listing, SNAP_NBD_CONTEXT_CLEAN, base);
  return TRUE;
}

static SnapNbdStep
list_contexts (SnapNbdHandshake *self, Option *option, gpointer export,
               GPtrArray *queries)
{
  Listing listing = { option, queries };

  list_one (&listing, SNAP_NBD_CONTEXT_ALLOCATION, NULL);
  self->offer->list_bases (export, list_dirty, &listing);
  self->offer->list_bases (export, list_clean, &listing);
  return snap_nbd_option_acknowledge (option);
}

/* ---- SET_META_CONTEXT ---- */

static gboolean
is_chosen (const GArray *contexts, SnapNbdContextKind kind, const char *base)
{
  for (guint i = 0; i < contexts->len; i++) {
    const SnapNbdContext *known = &g_array_index (contexts, SnapNbdContext, i);

    if (known->kind == kind && g_strcmp0 (known->base, base) == 0)
      return TRUE;
  }
  return FALSE;
}

/* What is unknown, or a wildcard, chooses nothing. */
static void
choose_one (SnapNbdHandshake *self, gpointer export, const char *query)
{
  GArray *contexts = self->agreement.contexts;
  SnapNbdContext context = { 0 };
  const char *base;

  if (!snap_nbd_context_parse (query, &context.kind, &base)
      || is_chosen (contexts, context.kind, base)
      || (base != NULL && !self->offer->has_base (export, base)))
    return;
  context.base = g_strdup (base);
  g_array_append_val (contexts, context);
}

static void
append_chosen (Option *option, const GArray *contexts)
{
  for (guint i = 0; i < contexts->len; i++) {
    const SnapNbdContext *context =
        &g_array_index (contexts, SnapNbdContext, i);
    g_autofree char *name =
        snap_nbd_context_name (context->kind, context->base);

    snap_nbd_append_context (option->out, option->code, i + 1, name);
  }
}

static SnapNbdStep
set_contexts (SnapNbdHandshake *self, Option *option, gpointer export,
              const SnapNbdExportInfo *info, GPtrArray *queries)
{
  GArray *contexts = self->agreement.contexts;

  for (guint i = 0; i < queries->len; i++) {
    choose_one (self, export, g_ptr_array_index (queries, i));
    if (contexts->len > SNAP_NBD_MAX_CONTEXTS) {
      g_array_set_size (contexts, 0);
      return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_TOO_BIG,
                                     "too many contexts");
    }
  }
  self->contexts_of = g_strdup (info->name);
  append_chosen (option, contexts);
  return snap_nbd_option_acknowledge (option);
}

/* ---- both ---- */

/* NULL if one of them is no string of the protocol. */
static GPtrArray *
take_queries (SnapNbdQueries *parsed)
{
  g_autoptr (GPtrArray) queries = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < parsed->n_queries; i++) {
    guint32 length;
    const guint8 *bytes = snap_nbd_queries_take (parsed, &length);
    char *query = snap_nbd_string_dup (bytes, length);

    if (query == NULL)
      return NULL;
    g_ptr_array_add (queries, query);
  }
  return g_steal_pointer (&queries);
}

static SnapNbdStep
do_contexts (SnapNbdHandshake *self, Option *option, SnapNbdQueries *parsed)
{
  g_autoptr (GPtrArray) queries = take_queries (parsed);
  SnapNbdExportInfo info;
  SnapNbdStep step;
  gpointer export;

  if (queries == NULL)
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_INVALID,
                                   "malformed query");
  export =
      snap_nbd_handshake_open (self, parsed->name, parsed->name_length, &info);
  if (export == NULL)
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_UNKNOWN,
                                   "no such export");
  step = option->code == SNAP_NBD_OPT_LIST_META_CONTEXT
             ? list_contexts (self, option, export, queries)
             : set_contexts (self, option, export, &info, queries);
  self->offer->close (self->data, export);
  return step;
}

/* A SET replaces what was chosen before, also when it fails. */
SnapNbdStep
snap_nbd_handshake_contexts (SnapNbdHandshake *self, Option *option)
{
  SnapNbdQueries parsed;

  if (option->code == SNAP_NBD_OPT_SET_META_CONTEXT) {
    g_array_set_size (self->agreement.contexts, 0);
    g_clear_pointer (&self->contexts_of, g_free);
  }
  if (self->agreement.style == SNAP_NBD_SIMPLE)
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_INVALID,
                                   "structured replies come first");
  if (!snap_nbd_queries_parse (option->data, option->length, &parsed))
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_INVALID,
                                   "malformed list of queries");
  if (parsed.n_queries > SNAP_NBD_MAX_QUERIES)
    return snap_nbd_option_refuse (option, SNAP_NBD_REP_ERR_TOO_BIG,
                                   "too many queries");
  return do_contexts (self, option, &parsed);
}
