/*
 * cmocka.h - cmocka with what it needs included first, and without its fail() macro,
 * whose name is our error function's (host/fail.h).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_CMOCKA_H
#define TEST_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail

#endif
