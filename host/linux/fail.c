/*
 * fail.c - the one place where an error sentence is written (host/fail.h).
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>

#include "host/fail.h"

int fail(struct fail *why, int code, const char *fmt, ...)
{
	va_list ap;

	if (!why)
		return code;
	why->code = code;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	/* File names are the user's: keep the sentence one line and the terminal sane. */
	for (char *p = why->text; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	return code;
}
