/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a fuzz target defines.  libFuzzer calls it, or replay-main.c does.
 */
#ifndef TESTS_FUZZ_FUZZ_TARGET_H
#define TESTS_FUZZ_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize (int *argc, char ***argv)
    __attribute__ ((visibility ("default")));
int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
    __attribute__ ((visibility ("default")));

#endif
