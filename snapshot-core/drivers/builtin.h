/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The drivers that are built in.  The registry's array names each once; no
 * other file includes this.
 */
#ifndef SNAP_DRIVERS_BUILTIN_H
#define SNAP_DRIVERS_BUILTIN_H

#include "snapshot-core/drivers/driver.h"

extern const SnapDriver snap_driver_btrfs;
extern const SnapDriver snap_driver_image;
extern const SnapDriver snap_driver_lvm;
extern const SnapDriver snap_driver_qcow2;
extern const SnapDriver snap_driver_qemu;
extern const SnapDriver snap_driver_reflink;
extern const SnapDriver snap_driver_thin_meta;

#endif
