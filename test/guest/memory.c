/*
 * memory.c - what the monitor takes beside the guest's RAM: at most 64 MiB and the code cache.
 *
 * Debian's kernel to its prompt; and a guest that makes code for ever, which once round has had
 * all that it ever gets. Memory is what Linux says is resident (/proc/PID/smaps), without guest
 * RAM, which is a file for that, and generated code, which is mapped twice, once.
 *
 * SPDX-License-Identifier: MIT
 */
#define GUEST_SECONDS 180
#include "test/guest/guest.h"

#define KIB_BESIDE (64u << 10)
#define KIB_SLACK  1024u /* what C library and kernel may add meanwhile */
#define KIB_CACHE  (8u << 10)
#define CACHE      "8M"

/* Of mappings of a process, given their first line in smaps. */
static bool counts(const char *mapping)
{
	return !strstr(mapping, "/memfd:guest-ram") && !strstr(mapping, " r-xs ");
}

static unsigned resident_kib(pid_t pid)
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

/* A sanitizer has memory of its own. */
static void need_bare_memory(void)
{
	if (strstr(session_need("OBJ"), "san"))
		skip();
}

static void test_debian(void **state)
{
	struct session s;

	(void)state;
	need_bare_memory();
	session_engine = "bt";
	guest_boot(&s, GUEST_WORDS("--code-cache", CACHE, "--memory", "512M,shared"));
	session_type(&s, "find / -xdev | sort | gzip | sha256sum; echo do''ne\n");
	session_expect(&s, "done", GUEST_SECONDS);

	assert_in_range(resident_kib(s.pid), 1, KIB_BESIDE + KIB_CACHE);
	guest_poweroff(&s);
}

static void endless(const char *engine, unsigned limit)
{
	char kernel[4200];
	char *argv[] = { (char *)session_need("TRAPEZE"),
			 "run",
			 "--engine",
			 (char *)engine,
			 "--code-cache",
			 CACHE,
			 "--memory",
			 "64M,shared",
			 "--kernel",
			 kernel,
			 "--append",
			 "rounds=17 pages=8000",
			 "--debug-exit",
			 "--no-reboot",
			 NULL };
	unsigned before, after;
	struct session s;

	need_bare_memory();
	snprintf(kernel, sizeof(kernel), "%s/../bare/endless", session_need("GUEST"));
	session_start(&s, argv);
	session_expect(&s, "eighth round", GUEST_SECONDS);
	before = resident_kib(s.pid);
	session_expect(&s, "sixteenth round", GUEST_SECONDS);
	after = resident_kib(s.pid);
	assert_in_range(after, 1, limit);
	assert_in_range(after, 1, before + KIB_SLACK);
	session_expect(&s, "done", GUEST_SECONDS);
	session_end(&s, GUEST_SECONDS);
	session_close(&s);
}

static void test_endless_code_on_bt(void **state)
{
	(void)state;
	endless("bt", KIB_BESIDE + KIB_CACHE);
}

static void test_endless_code_on_interp(void **state)
{
	(void)state;
	endless("interp", KIB_BESIDE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_debian),
		cmocka_unit_test(test_endless_code_on_bt),
		cmocka_unit_test(test_endless_code_on_interp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
