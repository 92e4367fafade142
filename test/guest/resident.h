/*
 * resident.h - how much memory a monitor takes beside its guest's RAM.
 *
 * It is what Linux says is resident (/proc/PID/smaps), without guest RAM, which has to be a file
 * for that (`--memory SIZE,shared`), and generated code, which is mapped twice, once.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_GUEST_RESIDENT_H
#define TEST_GUEST_RESIDENT_H

#include "test/guest/session.h"

#define KIB_BESIDE (64u << 10) /* at most, and the code cache */

/* Of mappings of a process, given their first line in smaps. */
static inline bool counts(const char *mapping)
{
	return !strstr(mapping, "/memfd:guest-ram") && !strstr(mapping, " r-xs ");
}

static inline unsigned resident_kib(pid_t pid)
{
	char path[64], line[4096];
	unsigned sum = 0, kib;
	bool counted = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Rss: %u", &kib) == 1)
			sum += counted ? kib : 0;
		else if (strchr("0123456789abcdef", line[0]))
			counted = counts(line);
	}
	fclose(f);
	return sum;
}

/* Nothing of a process may be written and executed, too. */
static inline void resident_check_protection(pid_t pid)
{
	char command[64];

	snprintf(command, sizeof(command), "! grep -E '^[^ ]+ .?wx' /proc/%d/maps", (int)pid);
	assert_int_equal(system(command), 0);
}

/* A sanitizer has memory of its own. */
static inline bool resident_means_something(void)
{
	return !strstr(session_need("OBJ"), "san");
}

#endif
