/*
 * fail.h - how a function says that it could not do its job.
 *
 * Return 0, or a negative E* value (-ENOMEM, -EIO, ...). A function whose
 * failure a person will read also takes `struct fail *why` as its LAST
 * argument and writes one English sentence there, once, at the point of
 * failure; callers pass it up untouched. `why` is caller-owned, never
 * allocates, and may be NULL.
 *
 * Guest misbehaviour never comes through here: see machine/exit.h.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef HOST_FAIL_H
#define HOST_FAIL_H

struct fail {
	int code;       /* the negative E* value returned */
	char text[300]; /* NUL-terminated, no newline */
};

/* Fills *why (if any) and returns `code`, so: return fail(why, -EIO, ...). */
__attribute__((format(printf, 3, 4))) int fail(struct fail *why, int code, const char *fmt, ...);

#endif
