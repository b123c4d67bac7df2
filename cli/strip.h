/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A volume drawn as a strip: each column stands for an equal part of it and
 * shows how much of that part is dirty.  A pure function from extents to
 * text.
 *
 *   │·▁··█████····▒▒···▁│
 *   0        16.0 MiB                  64.0 MiB
 */
#ifndef CLI_STRIP_H
#define CLI_STRIP_H

#include "snapshot-core/base/extents.h"

typedef struct {
  guint width;     /* columns of a whole line, frame included; at least 8 */
  gboolean utf8;   /* block characters, otherwise ASCII */
  gboolean colour; /* ANSI colours */
} CliStripStyle;

/*
 * Draw the strip, a ruler under it and a legend with the scale.
 *
 * @dirty lies in [0, size).  A column with one dirty byte never looks clean;
 * a column most of whose dirty bytes are zeroes is drawn as zeroed.  The
 * caller frees.
 */
char *cli_strip_draw (const SnapExtents *dirty, guint64 size,
                      const CliStripStyle *style);

#endif
