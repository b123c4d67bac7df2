/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a server asks of its clients before they may ask for anything.
 */
#ifndef NBD_SERVER_SECURITY_H
#define NBD_SERVER_SECURITY_H

#include <glib.h>

typedef enum {
  SNAP_NBD_TLS_OFF,
  SNAP_NBD_TLS_ON,      /* a client may */
  SNAP_NBD_TLS_REQUIRE, /* a client must, before all else */
} SnapNbdTls;

/* What a server proves itself with; at least one of the first two.  Only read
   while it is set up. */
typedef struct {
  /* A directory with server-cert.pem and server-key.pem, and ca-cert.pem and
     perhaps ca-crl.pem for the certificates of clients: as nbdkit and QEMU
     have it. */
  const char *certificates;
  /* A file with a line "NAME:KEY" for each client, the key as hexadecimal
     digits: as psktool of GnuTLS makes it. */
  const char *psk_file;
  /* Let nobody in without a certificate that ca-cert.pem answers for.  A
     client with a key of the file has shown who it is. */
  gboolean verify_peer;
} SnapNbdTlsKeys;

#endif
