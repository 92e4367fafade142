/*
 * memory.c - what the monitor takes beside the guest's RAM: at most 64 MiB and the code cache.
 *
 * Debian's kernel to its prompt; and a guest that makes code for ever, which once round has had
 * all that it ever gets. Memory is what resident.h counts; debian.c looks at a whole Debian's.
 *
 * SPDX-License-Identifier: MIT
 */
#define GUEST_SECONDS 180
#include "test/guest/guest.h"
#include "test/guest/resident.h"

#define KIB_SLACK 1024u /* what C library and kernel may add meanwhile */
#define KIB_CACHE (8u << 10)
#define CACHE     "8M"

static void debian(const char *engine, unsigned limit)
{
	struct session s;

	if (!resident_means_something())
		skip();
	session_engine = engine;
	guest_boot(&s, GUEST_WORDS("--code-cache", CACHE, "--memory", "512M,shared"));
	session_type(&s, "find / -xdev | sort | gzip | sha256sum; echo do''ne\n");
	session_expect(&s, "done", GUEST_SECONDS);

	resident_check_protection(s.pid);
	assert_in_range(resident_kib(s.pid), 1, limit);
	guest_poweroff(&s);
}

static void test_debian_on_bt(void **state)
{
	(void)state;
	debian("bt", KIB_BESIDE + KIB_CACHE);
}

static void test_debian_on_kvm(void **state)
{
	(void)state;
	debian("kvm", KIB_BESIDE);
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

	if (!resident_means_something())
		skip();
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

static void test_endless_code_on_kvm(void **state)
{
	(void)state;
	endless("kvm", KIB_BESIDE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_debian_on_bt),
		cmocka_unit_test(test_endless_code_on_bt),
		cmocka_unit_test(test_endless_code_on_interp),
	};
	static const struct CMUnitTest tests_kvm[] = {
		cmocka_unit_test(test_debian_on_kvm),
		cmocka_unit_test(test_endless_code_on_kvm),
	};

	if (strcmp(session_engine, "kvm") == 0)
		return cmocka_run_group_tests(tests_kvm, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
