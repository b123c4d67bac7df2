/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/protocol.h"

#include <string.h>

#define SIZE 4096

/* ---- requests ---- */

/* A compact request with the payload; returns its length. */
static gsize
put_request (guint8 *out, guint16 flags, guint16 type, guint64 offset,
             guint32 length, gsize payload)
{
  const guint32 magic = GUINT32_TO_BE (SNAP_NBD_REQUEST_MAGIC);
  const guint16 words[] = { GUINT16_TO_BE (flags), GUINT16_TO_BE (type) };
  const guint64 places[] = { GUINT64_TO_BE (77), GUINT64_TO_BE (offset) };
  const guint32 big_length = GUINT32_TO_BE (length);

  memcpy (out, &magic, 4);
  memcpy (out + 4, words, 4);
  memcpy (out + 8, places, 16);
  memcpy (out + 24, &big_length, 4);
  memset (out + 28, 'x', payload);
  return 28 + payload;
}

static gsize
put_extended (guint8 *out, guint16 flags, guint16 type, guint64 offset,
              guint64 length)
{
  const guint32 magic = GUINT32_TO_BE (SNAP_NBD_EXTENDED_REQUEST_MAGIC);
  const guint64 big_length = GUINT64_TO_BE (length);

  put_request (out, flags, type, offset, 0, 0);
  memcpy (out, &magic, 4);
  memcpy (out + 24, &big_length, 8);
  return 32;
}

/* Take from a copy of exactly @n bytes; *n becomes what is left. */
static SnapNbdTake
take (SnapNbdRequests *requests, const guint8 *bytes, gsize *n,
      SnapNbdRequest *request)
{
  g_autofree guint8 *copy = g_memdup2 (bytes, *n);
  SnapBytes in = { .at = copy, .left = *n };
  SnapNbdTake taken = snap_nbd_requests_take (requests, &in, request);

  request->payload = NULL; /* goes with the copy */
  *n = in.left;
  return taken;
}

static void
test_no_part_of_a_request_is_taken (void)
{
  SnapNbdRequests requests = { .style = SNAP_NBD_STRUCTURED };
  SnapNbdRequest request;
  guint8 bytes[28];
  gsize n;

  put_request (bytes, SNAP_NBD_CMD_FLAG_DF, SNAP_NBD_CMD_READ, 5, 6, 0);
  for (gsize length = 0; length < sizeof bytes; length++) {
    n = length;
    g_assert_cmpint (take (&requests, bytes, &n, &request), ==,
                     SNAP_NBD_TAKE_MORE);
    g_assert_cmpuint (n, ==, length);
  }
  n = sizeof bytes;
  g_assert_cmpint (take (&requests, bytes, &n, &request), ==, SNAP_NBD_TAKEN);
  g_assert_cmpuint (n, ==, 0);
  g_assert_cmpuint (request.cookie, ==, 77);
  g_assert_cmpuint (request.offset, ==, 5);
  g_assert_cmpuint (request.length, ==, 6);
  g_assert_cmpuint (request.flags, ==, SNAP_NBD_CMD_FLAG_DF);
}

static void
test_a_write_is_taken_after_its_payload (void)
{
  SnapNbdRequests requests = { .style = SNAP_NBD_SIMPLE };
  SnapNbdRequest request;
  guint8 bytes[28 + 100];
  gsize n = 28 + 40;

  put_request (bytes, 0, SNAP_NBD_CMD_WRITE, 0, 100, 100);
  g_assert_cmpint (take (&requests, bytes, &n, &request), ==,
                   SNAP_NBD_TAKE_MORE);
  g_assert_cmpuint (n, ==, 0);
  n = 59;
  g_assert_cmpint (take (&requests, bytes, &n, &request), ==,
                   SNAP_NBD_TAKE_MORE);
  put_request (bytes + 1, 0, SNAP_NBD_CMD_READ, 1, 2, 0);
  n = 1 + 28;
  g_assert_cmpint (take (&requests, bytes, &n, &request), ==, SNAP_NBD_TAKEN);
  g_assert_cmpint (request.type, ==, SNAP_NBD_CMD_WRITE);
  g_assert_cmpuint (request.length, ==, 100);
  g_assert_cmpuint (n, ==, 28);
  g_assert_cmpint (take (&requests, bytes + 1, &n, &request), ==,
                   SNAP_NBD_TAKEN);
  g_assert_cmpint (request.type, ==, SNAP_NBD_CMD_READ);
}

static void
test_other_magics_and_monstrous_payloads_end_it (void)
{
  SnapNbdRequests requests = { .style = SNAP_NBD_STRUCTURED };
  SnapNbdRequest request;
  guint8 bytes[32] = { 0 };
  gsize n = sizeof bytes;

  g_assert_cmpint (take (&requests, bytes, &n, &request), ==,
                   SNAP_NBD_TAKE_BROKEN);
  put_extended (bytes, 0, SNAP_NBD_CMD_READ, 0, 1);
  n = sizeof bytes;
  g_assert_cmpint (take (&requests, bytes, &n, &request), ==,
                   SNAP_NBD_TAKE_BROKEN);
  put_request (bytes, 0, SNAP_NBD_CMD_WRITE, 0, SNAP_NBD_MAX_PAYLOAD + 1, 0);
  n = sizeof bytes;
  g_assert_cmpint (take (&requests, bytes, &n, &request), ==,
                   SNAP_NBD_TAKE_BROKEN);
  requests.style = SNAP_NBD_EXTENDED;
  put_extended (bytes, SNAP_NBD_CMD_FLAG_PAYLOAD_LEN, SNAP_NBD_CMD_READ, 0,
                G_MAXUINT64);
  n = sizeof bytes;
  g_assert_cmpint (take (&requests, bytes, &n, &request), ==,
                   SNAP_NBD_TAKE_BROKEN);
}

static void
test_a_status_payload_names_contexts (void)
{
  SnapNbdRequests requests = { .style = SNAP_NBD_EXTENDED };
  guint8 bytes[32 + 16];
  const guint64 effect = GUINT64_TO_BE (G_GUINT64_CONSTANT (1) << 40);
  const guint32 big_ids[] = { GUINT32_TO_BE (3), GUINT32_TO_BE (1) };
  SnapBytes in = { .at = bytes, .left = sizeof bytes };
  guint32 ids[SNAP_NBD_MAX_CONTEXTS];
  SnapNbdRequest request;
  guint64 length;
  gsize n_ids;

  put_extended (bytes, SNAP_NBD_CMD_FLAG_PAYLOAD_LEN, SNAP_NBD_CMD_BLOCK_STATUS,
                0, 16);
  memcpy (bytes + 32, &effect, 8);
  memcpy (bytes + 40, big_ids, 8);
  g_assert_cmpint (snap_nbd_requests_take (&requests, &in, &request), ==,
                   SNAP_NBD_TAKEN);
  g_assert_true (
      snap_nbd_status_payload_parse (&request, &length, ids, &n_ids));
  g_assert_cmpuint (length, ==, G_GUINT64_CONSTANT (1) << 40);
  g_assert_cmpuint (n_ids, ==, 2);
  g_assert_true (ids[0] == 3 && ids[1] == 1);
  for (guint64 bad = 0; bad < 16; bad++) {
    request.payload_length = bad;
    g_assert_true (
        snap_nbd_status_payload_parse (&request, &length, ids, &n_ids)
        == (bad == 8 || bad == 12));
  }
}

typedef struct {
  SnapNbdStyle style;
  guint16 type, flags;
  guint64 offset, length;
  SnapNbdError expected;
} Check;

static void
test_what_is_legal_is_decided_by_style_and_size (void)
{
  static const Check checks[] = {
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_READ, 0, 0, SIZE, SNAP_NBD_OK },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_READ, 0, SIZE, 0, SNAP_NBD_OK },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_READ, 0, SIZE, 1, SNAP_NBD_EINVAL },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_READ, 0, 1, SIZE, SNAP_NBD_EINVAL },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_READ, 0, G_MAXUINT64, 1, SNAP_NBD_EINVAL },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_READ, 0, 1, G_MAXUINT64, SNAP_NBD_EINVAL },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_READ, 4, 0, 1, SNAP_NBD_EINVAL },
    { SNAP_NBD_STRUCTURED, SNAP_NBD_CMD_READ, 4, 0, 1, SNAP_NBD_OK },
    { SNAP_NBD_STRUCTURED, SNAP_NBD_CMD_READ, 8, 0, 1, SNAP_NBD_EINVAL },
    { SNAP_NBD_STRUCTURED, SNAP_NBD_CMD_BLOCK_STATUS, 8, 0, 1, SNAP_NBD_OK },
    { SNAP_NBD_STRUCTURED, SNAP_NBD_CMD_BLOCK_STATUS, 32, 0, 1,
      SNAP_NBD_EINVAL },
    { SNAP_NBD_EXTENDED, SNAP_NBD_CMD_BLOCK_STATUS, 40, 0, 1, SNAP_NBD_OK },
    { SNAP_NBD_EXTENDED, SNAP_NBD_CMD_READ, 32, 0, 0, SNAP_NBD_EINVAL },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_WRITE, 0, 0, 1, SNAP_NBD_EPERM },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_TRIM, 0, 0, 1, SNAP_NBD_EPERM },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_WRITE_ZEROES, 0, SIZE, 1, SNAP_NBD_EPERM },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_FLUSH, 0, 0, 0, SNAP_NBD_EINVAL },
    { SNAP_NBD_SIMPLE, 99, 0, 0, 0, SNAP_NBD_EINVAL },
    { SNAP_NBD_SIMPLE, SNAP_NBD_CMD_CACHE, 0, 0, SIZE, SNAP_NBD_OK },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (checks); i++) {
    const Check *check = &checks[i];
    const SnapNbdRequest request = { .type = check->type,
                                     .flags = check->flags,
                                     .offset = check->offset,
                                     .length = check->length };
    const char *why = NULL;

    g_test_message ("check %zu", i);
    g_assert_cmpint (
        snap_nbd_request_check (&request, check->style, SIZE, &why), ==,
        check->expected);
    g_assert_true ((why != NULL) == (check->expected != SNAP_NBD_OK));
  }
}

static void
test_a_piece_is_no_longer_than_every_client_can_take (void)
{
  const SnapNbdRequest whole = { .type = SNAP_NBD_CMD_READ,
                                 .length = SNAP_NBD_MAX_PAYLOAD + 1 };
  SnapNbdRequest fragile = whole;
  const char *why;

  fragile.flags = SNAP_NBD_CMD_FLAG_DF;
  g_assert_cmpint (
      snap_nbd_request_check (&whole, SNAP_NBD_SIMPLE, G_MAXINT64, &why), ==,
      SNAP_NBD_EINVAL);
  g_assert_cmpint (
      snap_nbd_request_check (&whole, SNAP_NBD_STRUCTURED, G_MAXINT64, &why),
      ==, SNAP_NBD_OK);
  g_assert_cmpint (
      snap_nbd_request_check (&fragile, SNAP_NBD_EXTENDED, G_MAXINT64, &why),
      ==, SNAP_NBD_EOVERFLOW);
}

/* ---- replies ---- */

#define COOKIE G_GUINT64_CONSTANT (0x0102030405060708)
#define COOKIE_BYTES "\1\2\3\4\5\6\7\10"

static const SnapNbdReplyTo simple = { SNAP_NBD_SIMPLE, COOKIE, 9 };
static const SnapNbdReplyTo structured = { SNAP_NBD_STRUCTURED, COOKIE, 9 };
static const SnapNbdReplyTo extended = { SNAP_NBD_EXTENDED, COOKIE, 9 };

#define ASSERT_BYTES(out, n, literal) \
  g_assert_cmpmem (out, n, literal, sizeof literal - 1)

static void
test_replies_are_these_bytes (void)
{
  guint8 out[SNAP_NBD_MAX_ERROR];

  ASSERT_BYTES (out, snap_nbd_put_done (out, &simple),
                "\x67\x44\x66\x98\0\0\0\0" COOKIE_BYTES);
  ASSERT_BYTES (out, snap_nbd_put_done (out, &structured),
                "\x66\x8e\x33\xef\0\1\0\0" COOKIE_BYTES "\0\0\0\0");
  ASSERT_BYTES (out, snap_nbd_put_done (out, &extended),
                "\x6e\x8a\x27\x8c\0\1\0\0" COOKIE_BYTES
                "\0\0\0\0\0\0\0\11\0\0\0\0\0\0\0\0");
  ASSERT_BYTES (out, snap_nbd_put_error (out, &structured, SNAP_NBD_EIO, "no"),
                "\x66\x8e\x33\xef\0\1\x80\1" COOKIE_BYTES
                "\0\0\0\10\0\0\0\5\0\2no");
  ASSERT_BYTES (out, snap_nbd_put_error (out, &simple, SNAP_NBD_EPERM, "no"),
                "\x67\x44\x66\x98\0\0\0\1" COOKIE_BYTES);
  ASSERT_BYTES (out, snap_nbd_put_data (out, &structured, 10, 512, FALSE),
                "\x66\x8e\x33\xef\0\0\0\1" COOKIE_BYTES
                "\0\0\2\10\0\0\0\0\0\0\0\12");
  ASSERT_BYTES (out, snap_nbd_put_hole (out, &structured, 10, 512, TRUE),
                "\x66\x8e\x33\xef\0\1\0\2" COOKIE_BYTES
                "\0\0\0\14\0\0\0\0\0\0\0\12\0\0\2\0");
}

static void
test_extents_are_these_bytes (void)
{
  const SnapNbdExtent extents[] = { { 512, 1 }, { 65536, 0 } };
  guint8 out[SNAP_NBD_MAX_HEADER];

  ASSERT_BYTES (out, snap_nbd_put_status (out, &structured, 7, 2, TRUE),
                "\x66\x8e\x33\xef\0\1\0\5" COOKIE_BYTES "\0\0\0\24\0\0\0\7");
  ASSERT_BYTES (out, snap_nbd_put_status (out, &extended, 7, 2, FALSE),
                "\x6e\x8a\x27\x8c\0\0\0\6" COOKIE_BYTES
                "\0\0\0\0\0\0\0\11\0\0\0\0\0\0\0\50\0\0\0\7\0\0\0\2");
  ASSERT_BYTES (out,
                snap_nbd_put_extents (out, SNAP_NBD_STRUCTURED, extents, 2),
                "\0\0\2\0\0\0\0\1\0\1\0\0\0\0\0\0");
  ASSERT_BYTES (out, snap_nbd_put_extents (out, SNAP_NBD_EXTENDED, extents, 2),
                "\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\1"
                "\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0");
}

static void
test_texts_of_errors_are_cut_to_what_a_string_may_be (void)
{
  g_autofree char *text = g_strnfill (2 * SNAP_NBD_MAX_STRING, 'x');
  guint8 out[SNAP_NBD_MAX_ERROR];

  g_assert_cmpuint (snap_nbd_put_error (out, &extended, SNAP_NBD_EIO, text), ==,
                    SNAP_NBD_MAX_ERROR);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/nbd/protocol/" name, func)
  ADD ("no-part-of-a-request-is-taken", test_no_part_of_a_request_is_taken);
  ADD ("a-write-is-taken-after-its-payload",
       test_a_write_is_taken_after_its_payload);
  ADD ("other-magics-and-monstrous-payloads-end-it",
       test_other_magics_and_monstrous_payloads_end_it);
  ADD ("a-status-payload-names-contexts", test_a_status_payload_names_contexts);
  ADD ("what-is-legal-is-decided-by-style-and-size",
       test_what_is_legal_is_decided_by_style_and_size);
  ADD ("a-piece-is-no-longer-than-every-client-can-take",
       test_a_piece_is_no_longer_than_every_client_can_take);
  ADD ("replies-are-these-bytes", test_replies_are_these_bytes);
  ADD ("extents-are-these-bytes", test_extents_are_these_bytes);
  ADD ("texts-of-errors-are-cut-to-what-a-string-may-be",
       test_texts_of_errors_are_cut_to_what_a_string_may_be);
  return g_test_run ();
}
