/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From references on a command line to open volumes and their points.
 */
#ifndef CLI_POINTS_H
#define CLI_POINTS_H

#include "cli/command.h"
#include "snapshot-core/service/volume.h"

/* A point and its volume. */
typedef struct {
  SnapVolume *volume;
  SnapPoint *point;
} CliPoint;

void cli_point_free (CliPoint *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (CliPoint, cli_point_free)

/* Open the volume of a reference as the command line's options say. */
SnapVolume *cli_reference_open (Cli *cli, const SnapReference *reference,
                                SnapOpenMode mode, GError **error);

/* Open VOLUME.  USAGE if the reference has a point. */
SnapVolume *cli_volume_open (Cli *cli, const char *text, SnapOpenMode mode,
                             GError **error);

/* Parse VOLUME@POINT.  USAGE if the point is missing or a range. */
SnapReference *cli_point_parse (Cli *cli, const char *text, GError **error);

/* Open VOLUME@POINT.  Errors as above, and NOT_FOUND, BUSY, … */
CliPoint *cli_point_open (Cli *cli, const char *text, SnapOpenMode mode,
                          GError **error);

/*
 * Open several points, CliPoint freed by the array; those of one volume share
 * it.  USAGE if one is named twice.
 */
GPtrArray *cli_points_open (Cli *cli, char *const *texts, SnapOpenMode mode,
                            GError **error);

/*
 * The reference that finds exactly @point, one of @snapshots; the caller
 * frees.
 */
char *cli_point_reference (const SnapVolume *volume, const GPtrArray *snapshots,
                           const SnapPoint *point);

#endif
