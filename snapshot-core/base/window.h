/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is to be done while devices stand still: which device-mapper devices
 * to suspend, and the target messages that are the cut.
 *
 * Plain data.  Drivers fill it in, the services hand it to the guard, and
 * the guard carries it out: every device is suspended, then every message is
 * sent in order, then every device is resumed, whatever happened.
 */
#ifndef SNAP_BASE_WINDOW_H
#define SNAP_BASE_WINDOW_H

#include <glib.h>

/* Limits of one window; a text above them is refused, not cut short. */
#define SNAP_WINDOW_MAX_STEPS 4096
#define SNAP_WINDOW_MAX_WORD 255

typedef struct {
  char *device; /* device-mapper name, without a directory */
  char *text;   /* what is sent to the target at sector 0 */
} SnapWindowMessage;

typedef struct {
  GPtrArray *devices;  /* char *, each once */
  GPtrArray *messages; /* SnapWindowMessage */
} SnapWindow;

SnapWindow *snap_window_new (void);
void snap_window_free (SnapWindow *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SnapWindow, snap_window_free)

/* Suspend @device for as long as the window lasts; again is once. */
void snap_window_suspend (SnapWindow *self, const char *device);

/* Send @text to @device after those that were added before. */
void snap_window_send (SnapWindow *self, const char *device, const char *text);

/* Whether there is nothing to do. */
gboolean snap_window_is_empty (const SnapWindow *self);

/*
 * The window as lines of text, and back:
 *
 *   suspend DEVICE
 *   message DEVICE TEXT…
 *
 * Names hold neither blanks nor control characters.  The caller frees.
 * Errors of parsing: CORRUPT.
 */
char *snap_window_format (const SnapWindow *self);
SnapWindow *snap_window_parse (const char *text, GError **error);

#endif
