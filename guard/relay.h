/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nbdsnap-relay URI DOMAIN: a guest of libvirt's with the manners of sockets of
 * QEMU's.  URI is empty for libvirt's default.
 *
 * Started with the ends of two socket pairs.  At one it speaks QMP, greeting
 * first, at the other the guest agent's protocol, for as long as somebody
 * holds the other end; then it undoes what it has done to the guest, and ends.
 *
 * It says one line on its standard output when it has found the domain or has
 * not: "ready PID", with that of QEMU, 0 if it is not seen here; or
 * "failed CODE TEXT", CODE a number of SnapError.
 */
#ifndef GUARD_RELAY_H
#define GUARD_RELAY_H

#define RELAY_PROGRAM "nbdsnap-relay"

#define RELAY_MONITOR_FD 3
#define RELAY_AGENT_FD 4

#define RELAY_READY "ready "
#define RELAY_FAILED "failed "

#endif
