/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QMP messages as bytes and back (QEMU docs/interop/qmp-spec.txt).  Pure: no
 * I/O.  Takes any bytes of a peer and never trusts them.
 */
#ifndef QMP_MESSAGE_H
#define QMP_MESSAGE_H

#include <json-glib/json-glib.h>

/* The longest line that is taken; query-qmp-schema answers with some 200 KiB
   and query-named-block-nodes grows with the number of snapshots. */
#define QMP_MAX_MESSAGE (64 * 1024 * 1024)

/* The deepest nesting that is taken.  The schema's is 7; nodes nest by their
   children, where they are not asked for flat. */
#define QMP_MAX_DEPTH 512

typedef enum {
  QMP_MESSAGE_GREETING,
  QMP_MESSAGE_RETURN, /* body: the value of "return" */
  QMP_MESSAGE_ERROR,  /* body: the object "error" */
  QMP_MESSAGE_EVENT,  /* body: the whole event object */
} QmpMessageKind;

typedef struct {
  QmpMessageKind kind;
  gboolean has_id;
  char *id; /* NULL if it has none, or one that is no string: not ours */
  JsonNode *body;
} QmpMessage;

/* Parse one line, with or without its line end.  Errors: PROTOCOL. */
QmpMessage *qmp_message_parse (const char *line, gsize length, GError **error);
void qmp_message_free (QmpMessage *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (QmpMessage, qmp_message_free)

/*
 * A command as one line with its newline; @arguments and @id may be NULL.  The
 * caller frees.
 */
char *qmp_message_format (const char *command, JsonObject *arguments,
                          const char *id);

/* Make *error of the "error" object of an answer to @command: code by class,
   text "COMMAND: DESC" with control characters made blanks.  Returns FALSE. */
gboolean qmp_message_set_error (JsonNode *body, const char *command,
                                GError **error);

#endif
