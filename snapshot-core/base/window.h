/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is to be done while a guest or devices stand still: how the guest is
 * quieted, the QMP commands that are the cut of its disks, which device-mapper
 * devices to suspend, and the target messages that are the cut of those.
 *
 * Plain data.  Drivers fill it in, the services hand it to the guard, and
 * the guard carries it out: the guest is frozen and stopped, the commands are
 * executed in order, every device is suspended, every message is sent in
 * order; then every device is resumed and the guest let go, whatever happened.
 */
#ifndef SNAP_BASE_WINDOW_H
#define SNAP_BASE_WINDOW_H

#include <glib.h>

#include "snapshot-core/base/quiesce.h"

/* Limits of one window; a text above them is refused, not cut short. */
#define SNAP_WINDOW_MAX_STEPS 4096
#define SNAP_WINDOW_MAX_WORD 255
#define SNAP_WINDOW_MAX_COMMAND (1024 * 1024)
#define SNAP_WINDOW_MAX_TEXT (16 * 1024 * 1024)

typedef struct {
  char *device; /* device-mapper name, without a directory */
  char *text;   /* what is sent to the target at sector 0 */
} SnapWindowMessage;

typedef struct {
  GPtrArray *devices;  /* char *, each once */
  GPtrArray *messages; /* SnapWindowMessage */
  GPtrArray *commands; /* char *, a QMP command each */
  gboolean has_guest;
  SnapQuiesce quiesce;
  gboolean running;
} SnapWindow;

SnapWindow *snap_window_new (void);
void snap_window_free (SnapWindow *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapWindow, snap_window_free)

/* Suspend @device for as long as the window lasts; again is once. */
void snap_window_suspend (SnapWindow *self, const char *device);

/* Send @text to @device after those that were added before. */
void snap_window_send (SnapWindow *self, const char *device, const char *text);

/*
 * Quiet the guest, which was seen @running, or not: one that stood still
 * before is not touched.  That it then still is as it was seen is checked, where
 * it is to be quieted at all.
 */
void snap_window_set_guest (SnapWindow *self, SnapQuiesce quiesce,
                            gboolean running);

/*
 * Execute @command, {"execute": …, "arguments": …} on one line, after those
 * that were added before.  Without snap_window_set_guest() the guest is not
 * quieted for it.
 */
void snap_window_execute (SnapWindow *self, const char *command);

/* Whether there are commands, and so must be a guest to give them to. */
gboolean snap_window_needs_guest (const SnapWindow *self);

/* Whether there is nothing to do. */
gboolean snap_window_is_empty (const SnapWindow *self);

/*
 * The window as lines of text, and back:
 *
 *   guest none|pause|agent running|paused     (first, if there is one)
 *   command {…}
 *   suspend DEVICE
 *   message DEVICE TEXT…
 *
 * Names hold neither blanks nor control characters; that a command is JSON is
 * for whoever executes it to find out.  The caller frees.
 *
 * Errors of parsing: CORRUPT.
 */
char *snap_window_format (const SnapWindow *self);
SnapWindow *snap_window_parse (const char *text, GError **error);

#endif
