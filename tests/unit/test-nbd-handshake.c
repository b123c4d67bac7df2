/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include "nbd-server/handshake.h"

#include <string.h>

#include "tests/unit/nbd-offer.h"

#define FLAGS "\0\0\0\3"

typedef struct {
  NbdOfferUse use;
  SnapNbdHandshake *handshake;
  GByteArray *out;
} Test;

static void
start (Test *t, SnapNbdTls tls)
{
  *t = (Test){ .out = g_byte_array_new () };
  t->handshake = snap_nbd_handshake_new (&nbd_offer, &t->use, tls);
}

static void
end (Test *t)
{
  snap_nbd_handshake_free (t->handshake);
  g_byte_array_unref (t->out);
  g_assert_cmpint (t->use.n_open, ==, 0);
}

/* From a copy of exactly that size, so that reading past it is seen. */
static SnapNbdStep
feed (Test *t, const void *data, gsize length)
{
  g_autofree guint8 *copy = g_memdup2 (data, length);
  SnapBytes in = { .at = copy, .left = length };
  SnapNbdStep step;

  g_byte_array_set_size (t->out, 0);
  step = snap_nbd_handshake_feed (t->handshake, &in, t->out);
  if (step != SNAP_NBD_STEP_CLOSE)
    g_assert_cmpuint (in.left, ==, step == SNAP_NBD_STEP_MORE ? length : 0);
  return step;
}

static GByteArray *
make_option (guint32 code, const void *data, gsize length)
{
  GByteArray *message = g_byte_array_new ();
  const guint64 magic = GUINT64_TO_BE (SNAP_NBD_OPTION_MAGIC);
  const guint32 header[] = { GUINT32_TO_BE (code), GUINT32_TO_BE (length) };

  g_byte_array_append (message, (const guint8 *) &magic, sizeof magic);
  g_byte_array_append (message, (const guint8 *) header, sizeof header);
  if (length > 0)
    g_byte_array_append (message, data, length);
  return message;
}

static SnapNbdStep
option (Test *t, guint32 code, const void *data, gsize length)
{
  g_autoptr (GByteArray) message = make_option (code, data, length);

  return feed (t, message->data, message->len);
}

#define OPTION(t, code, literal) option (t, code, literal, sizeof literal - 1)

/* The types of all replies in the output. */
static char *
reply_types (const Test *t)
{
  SnapBytes in = { .at = t->out->data, .left = t->out->len };
  g_autoptr (GString) types = g_string_new (NULL);

  while (in.left > 0) {
    guint64 magic = snap_bytes_take_be64 (&in);
    guint32 type;

    snap_bytes_take_be32 (&in);
    type = snap_bytes_take_be32 (&in);
    snap_bytes_take (&in, snap_bytes_take_be32 (&in));
    g_assert_true (magic == SNAP_NBD_OPTION_REPLY_MAGIC && !in.failed);
    g_string_append_printf (types, "%s%x ",
                            type & SNAP_NBD_REP_ERROR ? "!" : "",
                            type & ~SNAP_NBD_REP_ERROR);
  }
  return g_string_free (g_steal_pointer (&types), FALSE);
}

static void
assert_replies (const Test *t, const char *expected)
{
  g_autofree char *types = reply_types (t);

  g_assert_cmpstr (types, ==, expected);
}

#define GO_DISK "\0\0\0\4disk\0\0"
#define GO_PLAIN "\0\0\0\5plain\0\0"
#define OLD_BITMAP "\0\0\0\25qemu:dirty-bitmap:old"
#define ALLOCATION "\0\0\0\17base:allocation"

static void
test_flags_come_first_and_unknown_ones_end_it (void)
{
  Test t;

  start (&t, SNAP_NBD_TLS_OFF);
  g_assert_cmpint (feed (&t, "\0\0\0", 3), ==, SNAP_NBD_STEP_MORE);
  g_assert_cmpint (feed (&t, FLAGS, 4), ==, SNAP_NBD_STEP_DONE);
  g_assert_cmpint (OPTION (&t, 99, ""), ==, SNAP_NBD_STEP_DONE);
  assert_replies (&t, "!1 ");
  end (&t);
  start (&t, SNAP_NBD_TLS_OFF);
  g_assert_cmpint (feed (&t, "\0\0\0\7", 4), ==, SNAP_NBD_STEP_CLOSE);
  end (&t);
}

static void
test_no_part_of_a_message_is_taken (void)
{
  g_autoptr (GByteArray) message =
      make_option (SNAP_NBD_OPT_GO, GO_DISK, sizeof GO_DISK - 1);
  Test t;

  start (&t, SNAP_NBD_TLS_OFF);
  feed (&t, FLAGS, 4);
  for (guint n = 0; n < message->len; n++)
    g_assert_cmpint (feed (&t, message->data, n), ==, SNAP_NBD_STEP_MORE);
  g_assert_cmpint (feed (&t, message->data, message->len), ==,
                   SNAP_NBD_STEP_TRANSMISSION);
  assert_replies (&t, "3 1 ");
  end (&t);
}

static void
test_what_is_no_option_ends_it (void)
{
  Test t;

  start (&t, SNAP_NBD_TLS_OFF);
  feed (&t, FLAGS, 4);
  g_assert_cmpint (feed (&t, "GET / HTTP/1.1\r\n", 16), ==,
                   SNAP_NBD_STEP_CLOSE);
  end (&t);
}

static void
test_malformed_data_is_refused_and_nothing_else_happens (void)
{
  Test t;

  start (&t, SNAP_NBD_TLS_OFF);
  feed (&t, FLAGS, 4);
  OPTION (&t, SNAP_NBD_OPT_STRUCTURED_REPLY, "x");
  assert_replies (&t, "!3 ");
  OPTION (&t, SNAP_NBD_OPT_LIST, "x");
  assert_replies (&t, "!3 ");
  OPTION (&t, SNAP_NBD_OPT_GO, "\0\0\0\5disk\0\0");
  assert_replies (&t, "!3 ");
  OPTION (&t, SNAP_NBD_OPT_GO, "\377\377\377\377disk\0\0");
  assert_replies (&t, "!3 ");
  OPTION (&t, SNAP_NBD_OPT_GO, "\0\0\0\4disk\0\1");
  assert_replies (&t, "!3 ");
  OPTION (&t, SNAP_NBD_OPT_GO, "\0\0\0\4dis\0\0\0");
  assert_replies (&t, "!6 ");
  OPTION (&t, SNAP_NBD_OPT_SET_META_CONTEXT, "\0\0\0\4disk\0\0\0\0");
  assert_replies (&t, "!3 ");
  OPTION (&t, SNAP_NBD_OPT_STRUCTURED_REPLY, "");
  assert_replies (&t, "1 ");
  OPTION (&t, SNAP_NBD_OPT_SET_META_CONTEXT, "\0\0\0\4disk\377\377\377\377");
  assert_replies (&t, "!3 ");
  end (&t);
}

static void
test_an_option_that_is_too_long_is_skipped (void)
{
  static const guint8 rest[SNAP_NBD_MAX_OPTION + 1];
  g_autoptr (GByteArray) message =
      make_option (SNAP_NBD_OPT_GO, rest, sizeof rest);
  Test t;

  start (&t, SNAP_NBD_TLS_OFF);
  feed (&t, FLAGS, 4);
  g_assert_cmpint (feed (&t, message->data, SNAP_NBD_OPTION_HEADER), ==,
                   SNAP_NBD_STEP_DONE);
  assert_replies (&t, "!9 ");
  g_assert_cmpint (feed (&t, rest, sizeof rest - 1), ==, SNAP_NBD_STEP_DONE);
  assert_replies (&t, "");
  feed (&t, rest, 1);
  OPTION (&t, SNAP_NBD_OPT_LIST, "");
  assert_replies (&t, "2 2 1 ");
  end (&t);
}

static void
test_the_number_of_options_has_an_end (void)
{
  SnapNbdStep step = SNAP_NBD_STEP_DONE;
  guint n = 0;
  Test t;

  start (&t, SNAP_NBD_TLS_OFF);
  feed (&t, FLAGS, 4);
  for (; step == SNAP_NBD_STEP_DONE && n < 100000; n++)
    step = OPTION (&t, SNAP_NBD_OPT_LIST, "");
  g_assert_cmpint (step, ==, SNAP_NBD_STEP_CLOSE);
  end (&t);
}

/* Negotiate with an export, contexts chosen for "disk". */
static SnapNbdAgreement
agree (Test *t, const char *go, gsize length)
{
  start (t, SNAP_NBD_TLS_OFF);
  feed (t, FLAGS, 4);
  OPTION (t, SNAP_NBD_OPT_EXTENDED_HEADERS, "");
  OPTION (t, SNAP_NBD_OPT_SET_META_CONTEXT,
          "\0\0\0\4disk\0\0\0\4" OLD_BITMAP ALLOCATION OLD_BITMAP
          "\0\0\0\5qemu:");
  assert_replies (t, "4 4 1 ");
  g_assert_cmpint (option (t, SNAP_NBD_OPT_GO, go, length), ==,
                   SNAP_NBD_STEP_TRANSMISSION);
  return snap_nbd_handshake_take (t->handshake);
}

static void
test_contexts_keep_their_order_and_come_once (void)
{
  Test t;
  SnapNbdAgreement agreement = agree (&t, GO_DISK, sizeof GO_DISK - 1);
  const SnapNbdContext *first =
      &g_array_index (agreement.contexts, SnapNbdContext, 0);

  g_assert_cmpuint (agreement.contexts->len, ==, 2);
  g_assert_cmpint (first->kind, ==, SNAP_NBD_CONTEXT_DIRTY);
  g_assert_cmpstr (first->base, ==, "old");
  g_assert_cmpint (agreement.style, ==, SNAP_NBD_EXTENDED);
  g_assert_cmpuint (agreement.size, ==, NBD_OFFER_SIZE);
  g_array_unref (agreement.contexts);
  nbd_offer.close (&t.use, agreement.export);
  end (&t);
}

static void
test_contexts_of_another_export_do_not_count (void)
{
  Test t;
  SnapNbdAgreement agreement = agree (&t, GO_PLAIN, sizeof GO_PLAIN - 1);

  g_assert_cmpuint (agreement.contexts->len, ==, 0);
  g_array_unref (agreement.contexts);
  nbd_offer.close (&t.use, agreement.export);
  end (&t);
}

static void
test_a_failed_choice_leaves_none (void)
{
  SnapNbdAgreement agreement;
  Test t;

  start (&t, SNAP_NBD_TLS_OFF);
  feed (&t, FLAGS, 4);
  OPTION (&t, SNAP_NBD_OPT_STRUCTURED_REPLY, "");
  OPTION (&t, SNAP_NBD_OPT_SET_META_CONTEXT, "\0\0\0\4disk\0\0\0\1" OLD_BITMAP);
  assert_replies (&t, "4 1 ");
  OPTION (&t, SNAP_NBD_OPT_SET_META_CONTEXT, "\0\0\0\4gone\0\0\0\0");
  assert_replies (&t, "!6 ");
  g_assert_cmpint (OPTION (&t, SNAP_NBD_OPT_GO, GO_DISK), ==,
                   SNAP_NBD_STEP_TRANSMISSION);
  agreement = snap_nbd_handshake_take (t.handshake);
  g_assert_cmpuint (agreement.contexts->len, ==, 0);
  g_array_unref (agreement.contexts);
  nbd_offer.close (&t.use, agreement.export);
  end (&t);
}

static void
test_wildcards_list_and_names_do (void)
{
  Test t;

  start (&t, SNAP_NBD_TLS_OFF);
  feed (&t, FLAGS, 4);
  OPTION (&t, SNAP_NBD_OPT_STRUCTURED_REPLY, "");
  OPTION (&t, SNAP_NBD_OPT_LIST_META_CONTEXT, "\0\0\0\4disk\0\0\0\0");
  assert_replies (&t, "4 4 4 4 4 1 ");
  OPTION (&t, SNAP_NBD_OPT_LIST_META_CONTEXT,
          "\0\0\0\4disk\0\0\0\1\0\0\0\22qemu:dirty-bitmap:");
  assert_replies (&t, "4 4 1 ");
  OPTION (&t, SNAP_NBD_OPT_LIST_META_CONTEXT,
          "\0\0\0\4disk\0\0\0\2\0\0\0\4qemu\0\0\0\5base:");
  assert_replies (&t, "4 1 ");
  OPTION (&t, SNAP_NBD_OPT_LIST_META_CONTEXT,
          "\0\0\0\5plain\0\0\0\1" OLD_BITMAP);
  assert_replies (&t, "1 ");
  end (&t);
}

static void
test_without_tls_nothing_is_told_where_it_is_required (void)
{
  Test t;

  start (&t, SNAP_NBD_TLS_REQUIRE);
  feed (&t, FLAGS, 4);
  for (guint32 code = 3; code < 12; code++)
    if (code != SNAP_NBD_OPT_STARTTLS) {
      g_assert_cmpint (OPTION (&t, code, GO_DISK), ==, SNAP_NBD_STEP_DONE);
      assert_replies (&t, "!5 ");
    }
  g_assert_cmpint (OPTION (&t, SNAP_NBD_OPT_STARTTLS, ""), ==,
                   SNAP_NBD_STEP_TLS);
  snap_nbd_handshake_secured (t.handshake);
  OPTION (&t, SNAP_NBD_OPT_STARTTLS, "");
  assert_replies (&t, "!3 ");
  OPTION (&t, SNAP_NBD_OPT_LIST, "");
  assert_replies (&t, "2 2 1 ");
  end (&t);
  start (&t, SNAP_NBD_TLS_REQUIRE);
  feed (&t, FLAGS, 4);
  g_assert_cmpint (OPTION (&t, SNAP_NBD_OPT_EXPORT_NAME, "disk"), ==,
                   SNAP_NBD_STEP_CLOSE);
  g_assert_cmpuint (t.out->len, ==, 0);
  end (&t);
}

static void
test_what_was_agreed_in_the_clear_is_void_after_tls (void)
{
  SnapNbdAgreement agreement;
  Test t;

  start (&t, SNAP_NBD_TLS_ON);
  feed (&t, FLAGS, 4);
  OPTION (&t, SNAP_NBD_OPT_STRUCTURED_REPLY, "");
  OPTION (&t, SNAP_NBD_OPT_SET_META_CONTEXT, "\0\0\0\4disk\0\0\0\1" OLD_BITMAP);
  OPTION (&t, SNAP_NBD_OPT_STARTTLS, "");
  snap_nbd_handshake_secured (t.handshake);
  OPTION (&t, SNAP_NBD_OPT_GO, GO_DISK);
  agreement = snap_nbd_handshake_take (t.handshake);
  g_assert_cmpint (agreement.style, ==, SNAP_NBD_SIMPLE);
  g_assert_cmpuint (agreement.contexts->len, ==, 0);
  g_array_unref (agreement.contexts);
  nbd_offer.close (&t.use, agreement.export);
  end (&t);
}

static void
test_an_export_by_name_alone_comes_with_zeroes_or_without (void)
{
  static const struct {
    const char *flags;
    guint length;
  } cases[] = { { "\0\0\0\1", 134 }, { FLAGS, 10 }, { "\0\0\0\0", 134 } };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++) {
    Test t;

    start (&t, SNAP_NBD_TLS_OFF);
    feed (&t, cases[i].flags, 4);
    g_assert_cmpint (OPTION (&t, SNAP_NBD_OPT_EXPORT_NAME, "disk"), ==,
                     SNAP_NBD_STEP_TRANSMISSION);
    g_assert_cmpuint (t.out->len, ==, cases[i].length);
    end (&t);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/nbd/handshake/" name, func)
  ADD ("flags-come-first-and-unknown-ones-end-it",
       test_flags_come_first_and_unknown_ones_end_it);
  ADD ("no-part-of-a-message-is-taken", test_no_part_of_a_message_is_taken);
  ADD ("what-is-no-option-ends-it", test_what_is_no_option_ends_it);
  ADD ("malformed-data-is-refused-and-nothing-else-happens",
       test_malformed_data_is_refused_and_nothing_else_happens);
  ADD ("an-option-that-is-too-long-is-skipped",
       test_an_option_that_is_too_long_is_skipped);
  ADD ("the-number-of-options-has-an-end",
       test_the_number_of_options_has_an_end);
  ADD ("contexts-keep-their-order-and-come-once",
       test_contexts_keep_their_order_and_come_once);
  ADD ("contexts-of-another-export-do-not-count",
       test_contexts_of_another_export_do_not_count);
  ADD ("a-failed-choice-leaves-none", test_a_failed_choice_leaves_none);
  ADD ("wildcards-list-and-names-do", test_wildcards_list_and_names_do);
  ADD ("without-tls-nothing-is-told-where-it-is-required",
       test_without_tls_nothing_is_told_where_it_is_required);
  ADD ("what-was-agreed-in-the-clear-is-void-after-tls",
       test_what_was_agreed_in_the_clear_is_void_after_tls);
  ADD ("an-export-by-name-alone-comes-with-zeroes-or-without",
       test_an_export_by_name_alone_comes_with_zeroes_or_without);
  return g_test_run ();
}
