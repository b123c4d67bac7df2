/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread reads and another writes, which OpenSSL does not bear at the same
 * moment: so nothing waits inside of it.  The socket does not block; each call
 * is made under a lock, and what it wants is waited for outside.
 */
#include "config.h"

#include "nbd-server/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <unistd.h>

#include "nbd-server/socket.h"
#include "nbd-server/tls-keys.h"
#include "snapshot-core/base/error.h"
#include "snapshot-core/os/library.h"

/* A client that offers a key may offer to look at certificates as well, and yet
   have no authority to judge them by: so keys come first.  In 1.3 they go with
   SHA-256 only. */
#define SUITES_FOR_KEYS                                  \
  "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:" \
  "TLS_AES_256_GCM_SHA384"
#define CIPHERS_FOR_KEYS \
  "kECDHEPSK:kDHEPSK:kPSK:ALL:!COMPLEMENTOFDEFAULT:!eNULL"

/* The most that one record of TLS carries, bytes. */
#define MAX_RECORD 16384

struct _SnapNbdTlsContext {
  SSL_CTX *ssl;
  GHashTable *keys; /* name → GBytes, or NULL */
};

typedef struct {
  SnapNbdStream parent;
  SSL *ssl;
  GMutex lock; /* held for each call of OpenSSL */
} TlsStream;

/* ---- OpenSSL, which takes longer to load than most commands to run ---- */

#define FUNCTIONS(F)                     \
  F (ERR_clear_error)                    \
  F (ERR_get_error)                      \
  F (ERR_reason_error_string)            \
  F (SSL_CTX_check_private_key)          \
  F (SSL_CTX_ctrl)                       \
  F (SSL_CTX_free)                       \
  F (SSL_CTX_get_cert_store)             \
  F (SSL_CTX_load_verify_file)           \
  F (SSL_CTX_new)                        \
  F (SSL_CTX_set_cipher_list)            \
  F (SSL_CTX_set_ciphersuites)           \
  F (SSL_CTX_set_client_CA_list)         \
  F (SSL_CTX_set_num_tickets)            \
  F (SSL_CTX_set_options)                \
  F (SSL_CTX_set_psk_server_callback)    \
  F (SSL_CTX_set_verify)                 \
  F (SSL_CTX_use_PrivateKey_file)        \
  F (SSL_CTX_use_certificate_chain_file) \
  F (SSL_accept)                         \
  F (SSL_free)                           \
  F (SSL_get_error)                      \
  F (SSL_get_ex_data)                    \
  F (SSL_load_client_CA_file)            \
  F (SSL_new)                            \
  F (SSL_read_ex)                        \
  F (SSL_set_ex_data)                    \
  F (SSL_set_fd)                         \
  F (SSL_shutdown)                       \
  F (SSL_write_ex)                       \
  F (TLS_server_method)                  \
  F (X509_LOOKUP_ctrl)                   \
  F (X509_LOOKUP_file)                   \
  F (X509_STORE_add_lookup)              \
  F (X509_STORE_set_flags)

static struct {
  FUNCTIONS (SNAP_LIBRARY_POINTER)
} lib;

static const char *const lib_names[] = { FUNCTIONS (SNAP_LIBRARY_NAME) };

/* What OpenSSL's own macros call. */
#define SSL_CTX_ctrl lib.SSL_CTX_ctrl
#define SSL_get_ex_data lib.SSL_get_ex_data
#define SSL_set_ex_data lib.SSL_set_ex_data
#define X509_LOOKUP_ctrl lib.X509_LOOKUP_ctrl

static gboolean
load_openssl (GError **error)
{
  return snap_library_load (SNAP_LIBSSL_SONAME, lib_names,
                            G_N_ELEMENTS (lib_names), &lib, error);
}

/* ---- errors ---- */

/* OpenSSL keeps a list of them for each thread; the first tells most. */
static gboolean
set_error (GError **error, SnapError code, const char *object)
{
  unsigned long number = lib.ERR_get_error ();
  const char *reason =
      number != 0 ? lib.ERR_reason_error_string (number) : NULL;

  lib.ERR_clear_error ();
  return snap_error_set (error, code, "%s: %s", object,
                         reason != NULL ? reason : "TLS failed");
}

/* ---- the context ---- */

/* Called by OpenSSL for the name that a client gives; 0: unknown. */
static unsigned
find_key (SSL *ssl, const char *name, unsigned char *out, unsigned max)
{
  const SnapNbdTlsContext *self = SSL_get_app_data (ssl);
  GBytes *key = name != NULL ? g_hash_table_lookup (self->keys, name) : NULL;
  gsize length;
  gconstpointer data;

  if (key == NULL)
    return 0;
  data = g_bytes_get_data (key, &length);
  if (length > max)
    return 0;
  memcpy (out, data, length);
  return length;
}

static gboolean
load_certificates (SnapNbdTlsContext *self, const char *directory,
                   GError **error)
{
  g_autofree char *certificate =
      g_build_filename (directory, "server-cert.pem", NULL);
  g_autofree char *key = g_build_filename (directory, "server-key.pem", NULL);

  if (lib.SSL_CTX_use_certificate_chain_file (self->ssl, certificate) != 1)
    return set_error (error, SNAP_ERROR_CORRUPT, certificate);
  if (lib.SSL_CTX_use_PrivateKey_file (self->ssl, key, SSL_FILETYPE_PEM) != 1
      || lib.SSL_CTX_check_private_key (self->ssl) != 1)
    return set_error (error, SNAP_ERROR_CORRUPT, key);
  return TRUE;
}

/* What clients must show.  A list of certificates that count no more is used
   if it is there. */
static gboolean
load_authority (SnapNbdTlsContext *self, const char *directory, GError **error)
{
  g_autofree char *ca = g_build_filename (directory, "ca-cert.pem", NULL);
  g_autofree char *crl = g_build_filename (directory, "ca-crl.pem", NULL);
  X509_STORE *store = lib.SSL_CTX_get_cert_store (self->ssl);

  if (lib.SSL_CTX_load_verify_file (self->ssl, ca) != 1)
    return set_error (error, SNAP_ERROR_CORRUPT, ca);
  lib.SSL_CTX_set_client_CA_list (self->ssl, lib.SSL_load_client_CA_file (ca));
  lib.SSL_CTX_set_verify (
      self->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  if (!g_file_test (crl, G_FILE_TEST_EXISTS))
    return TRUE;
  if (X509_LOOKUP_load_file (
          lib.X509_STORE_add_lookup (store, lib.X509_LOOKUP_file ()), crl,
          X509_FILETYPE_PEM)
      <= 0)
    return set_error (error, SNAP_ERROR_CORRUPT, crl);
  lib.X509_STORE_set_flags (store, X509_V_FLAG_CRL_CHECK);
  return TRUE;
}

static gboolean
load_keys (SnapNbdTlsContext *self, const char *path, GError **error)
{
  self->keys = snap_nbd_tls_keys_read (path, error);
  if (self->keys == NULL)
    return FALSE;
  lib.SSL_CTX_set_psk_server_callback (self->ssl, find_key);
  lib.SSL_CTX_set_options (self->ssl, SSL_OP_CIPHER_SERVER_PREFERENCE);
  if (lib.SSL_CTX_set_ciphersuites (self->ssl, SUITES_FOR_KEYS) == 1
      && lib.SSL_CTX_set_cipher_list (self->ssl, CIPHERS_FOR_KEYS) == 1)
    return TRUE;
  return set_error (error, SNAP_ERROR_FAILED, "TLS");
}

/* No session is resumed: a copy has few connections, and what is not there
   cannot be got wrong.  A peer that just hangs up ends the stream. */
static void
configure (SSL_CTX *ssl)
{
  SSL_CTX_set_min_proto_version (ssl, TLS1_2_VERSION);
  lib.SSL_CTX_set_options (ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET
                                    | SSL_OP_IGNORE_UNEXPECTED_EOF
                                    | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode (ssl, SSL_SESS_CACHE_OFF);
  lib.SSL_CTX_set_num_tickets (ssl, 0);
  SSL_CTX_set_dh_auto (ssl, 1);
  SSL_CTX_set_mode (ssl, SSL_MODE_ENABLE_PARTIAL_WRITE
                             | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                             | SSL_MODE_RELEASE_BUFFERS);
}

static gboolean
check_keys (const SnapNbdTlsKeys *keys, GError **error)
{
  if (keys->certificates == NULL && keys->psk_file == NULL)
    return snap_error_set (error, SNAP_ERROR_USAGE,
                           "TLS: neither certificates nor a file of keys");
  if (keys->certificates != NULL
      && !g_file_test (keys->certificates, G_FILE_TEST_IS_DIR))
    return snap_error_set (error, SNAP_ERROR_NOT_FOUND, "%s: no directory",
                           keys->certificates);
  return TRUE;
}

SnapNbdTlsContext *
snap_nbd_tls_context_new (const SnapNbdTlsKeys *keys, GError **error)
{
  g_autoptr (SnapNbdTlsContext) self = NULL;

  if (!check_keys (keys, error) || !load_openssl (error))
    return NULL;
  self = g_new0 (SnapNbdTlsContext, 1);
  self->ssl = lib.SSL_CTX_new (lib.TLS_server_method ());
  if (self->ssl == NULL) {
    set_error (error, SNAP_ERROR_FAILED, "TLS");
    return NULL;
  }
  configure (self->ssl);
  if ((keys->certificates != NULL
       && !load_certificates (self, keys->certificates, error))
      || (keys->certificates != NULL && keys->verify_peer
          && !load_authority (self, keys->certificates, error))
      || (keys->psk_file != NULL && !load_keys (self, keys->psk_file, error)))
    return NULL;
  return g_steal_pointer (&self);
}

void
snap_nbd_tls_context_free (SnapNbdTlsContext *self)
{
  if (self == NULL)
    return;
  lib.SSL_CTX_free (self->ssl);
  g_clear_pointer (&self->keys, g_hash_table_unref);
  g_free (self);
}

const char *
snap_nbd_tls_context_client (const SnapNbdTlsContext *self)
{
  GHashTableIter iter;
  gpointer name = NULL;

  if (self->keys == NULL || g_hash_table_size (self->keys) != 1)
    return NULL;
  g_hash_table_iter_init (&iter, self->keys);
  g_hash_table_iter_next (&iter, &name, NULL);
  return name;
}

/* ---- calls of OpenSSL ---- */

typedef enum {
  CALL_DONE,
  CALL_END, /* the peer sends no more */
  CALL_FAILED,
} CallResult;

/* One of: the handshake, a read, a write. */
typedef int (*SslCall) (SSL *ssl, void *buffer, gsize length, gsize *n);

static int
call_accept (SSL *ssl, void *buffer, gsize length, gsize *n)
{
  return lib.SSL_accept (ssl);
}

static int
call_read (SSL *ssl, void *buffer, gsize length, gsize *n)
{
  return lib.SSL_read_ex (ssl, buffer, length, n);
}

static int
call_write (SSL *ssl, void *buffer, gsize length, gsize *n)
{
  return lib.SSL_write_ex (ssl, buffer, length, n);
}

/* Make the call once; what it wants otherwise is in *wants, SSL_ERROR_…. */
static gboolean
try_call (TlsStream *self, SslCall call, void *buffer, gsize length, gsize *n,
          int *wants, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  int result;

  lib.ERR_clear_error ();
  errno = 0;
  result = call (self->ssl, buffer, length, n);
  *wants = result > 0 ? SSL_ERROR_NONE : lib.SSL_get_error (self->ssl, result);
  if (*wants == SSL_ERROR_SYSCALL && errno != 0)
    snap_error_set_errno (error, errno, "client: TLS");
  else if (*wants == SSL_ERROR_SYSCALL || *wants == SSL_ERROR_SSL)
    set_error (error, SNAP_ERROR_IO, "client: TLS");
  return *wants == SSL_ERROR_NONE;
}

static CallResult
make_call (TlsStream *self, SslCall call, void *buffer, gsize length, gsize *n,
           GError **error)
{
  int wants;

  while (!try_call (self, call, buffer, length, n, &wants, error))
    switch (wants) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      if (!snap_nbd_socket_wait (self->parent.fd,
                                 wants == SSL_ERROR_WANT_READ
                                     ? SNAP_NBD_SOCKET_READ
                                     : SNAP_NBD_SOCKET_WRITE,
                                 error))
        return CALL_FAILED;
      break;
    case SSL_ERROR_ZERO_RETURN:
      return CALL_END;
    default:
      return CALL_FAILED;
    }
  return CALL_DONE;
}

/* ---- the stream ---- */

static gssize
tls_read (SnapNbdStream *stream, void *buffer, gsize length, GError **error)
{
  gsize n = 0;

  switch (
      make_call ((TlsStream *) stream, call_read, buffer, length, &n, error)) {
  case CALL_DONE:
    return n;
  case CALL_END:
    return 0;
  default:
    return -1;
  }
}

static gssize
tls_read_now (SnapNbdStream *stream, void *buffer, gsize length)
{
  gsize n = 0;
  int wants;

  if (try_call ((TlsStream *) stream, call_read, buffer, length, &n, &wants,
                NULL))
    return n;
  return wants == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static gboolean
write_all (TlsStream *self, guint8 *data, gsize length, GError **error)
{
  while (length > 0) {
    gsize n = 0;
    CallResult result = make_call (self, call_write, data, length, &n, error);

    if (result == CALL_END)
      return snap_error_set (error, SNAP_ERROR_IO, "client: is gone");
    if (result != CALL_DONE)
      return FALSE;
    data += n;
    length -= n;
  }
  return TRUE;
}

/* A header and what follows it go into one record. */
static gboolean
tls_write (SnapNbdStream *stream, struct iovec *parts, int n_parts,
           gboolean more, GError **error)
{
  TlsStream *self = (TlsStream *) stream;
  guint8 record[MAX_RECORD];
  gsize filled = 0;

  for (int i = 0; i < n_parts; i++) {
    guint8 *data = parts[i].iov_base;
    gsize left = parts[i].iov_len;

    while (left > 0) {
      gsize n = MIN (left, sizeof record - filled);

      memcpy (record + filled, data, n);
      filled += n;
      data += n;
      left -= n;
      if (filled == sizeof record) {
        if (!write_all (self, record, filled, error))
          return FALSE;
        filled = 0;
      }
    }
  }
  return write_all (self, record, filled, error);
}

/* The peer is told that this is the end and not an attacker's cut, if it can
   be told at once. */
static void
tls_close (SnapNbdStream *stream)
{
  TlsStream *self = (TlsStream *) stream;

  lib.ERR_clear_error ();
  (void) lib.SSL_shutdown (self->ssl);
  lib.ERR_clear_error ();
  lib.SSL_free (self->ssl);
  g_mutex_clear (&self->lock);
  close (stream->fd);
  g_free (self);
}

static const SnapNbdStreamOps tls_ops = {
  .read = tls_read,
  .read_now = tls_read_now,
  .write = tls_write,
  .close = tls_close,
};

/* ---- the beginning ---- */

static TlsStream *
stream_new (const SnapNbdTlsContext *context, int fd)
{
  TlsStream *self = g_new0 (TlsStream, 1);

  self->parent.ops = &tls_ops;
  self->parent.fd = fd;
  self->ssl = lib.SSL_new (context->ssl);
  g_mutex_init (&self->lock);
  return self;
}

/* All but the socket. */
static void
abandon (TlsStream *self)
{
  lib.SSL_free (self->ssl);
  g_mutex_clear (&self->lock);
  g_free (self);
}

SnapNbdStream *
snap_nbd_tls_secure (SnapNbdStream *plain, gpointer context, GError **error)
{
  TlsStream *self = stream_new (context, plain->fd);
  gsize n;

  if (self->ssl == NULL || SSL_set_app_data (self->ssl, context) != 1
      || lib.SSL_set_fd (self->ssl, plain->fd) != 1) {
    set_error (error, SNAP_ERROR_FAILED, "TLS");
    abandon (self);
    return NULL;
  }
  if (make_call (self, call_accept, NULL, 0, &n, error) != CALL_DONE) {
    if (error != NULL && *error == NULL)
      snap_error_set (error, SNAP_ERROR_IO, "client: left");
    abandon (self);
    return NULL;
  }
  snap_nbd_stream_forget (plain);
  return &self->parent;
}
