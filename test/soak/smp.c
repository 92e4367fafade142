/*
 * smp.c - the stock Debian kernel on two and on four CPUs, twenty times each on each software
 * engine, with no hang and no complaint; and the litmus tests, a million rounds of each.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/session.h"

#define BOOTS        20
#define BOOT_SECONDS 300
#define LITMUS       3600
#define ROUNDS       "1000000"

static char kernel[4200], initrd[4200], image[4200];

static char *options[] = { NULL, "run", "--engine", NULL, "--cpus", NULL };
#define OPTIONS (sizeof(options) / sizeof(options[0]))

static void start(struct session *s, const char *engine, const char *cpus, char *const rest[])
{
	char *argv[32];
	unsigned n = OPTIONS;

	memcpy(argv, options, sizeof(options));
	argv[0] = (char *)session_need("TRAPEZE");
	argv[3] = (char *)engine;
	argv[5] = (char *)cpus;
	for (; *rest; rest++)
		argv[n++] = *rest;
	argv[n] = NULL;
	session_start(s, argv);
}

static void end(struct session *s, double seconds)
{
	int status = session_end(s, seconds);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	session_close(s);
}

static void boot(const char *engine, const char *cpus)
{
	static const char *const complaints[] = { "BUG:", "WARNING:", "Call Trace", "stall",
						  "inconsistent" };
	char *rest[] = { "--kernel", kernel,     "--initrd",
			 initrd,     "--append", "console=ttyS0 trapeze.intro",
			 NULL };
	char expect[16];
	struct session s;

	start(&s, engine, cpus, rest);
	snprintf(expect, sizeof(expect), ", %s CPU", cpus);
	session_expect(&s, expect, BOOT_SECONDS);
	session_expect(&s, "Power down", BOOT_SECONDS);
	for (unsigned i = 0; i < sizeof(complaints) / sizeof(complaints[0]); i++)
		assert_null(memmem(s.text, s.bytes, complaints[i], strlen(complaints[i])));
	end(&s, BOOT_SECONDS);
}

static void boots(const char *engine)
{
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
	for (unsigned i = 0; i < BOOTS; i++) {
		boot(engine, "2");
		boot(engine, "4");
	}
}

static void litmus(const char *engine, const char *cpus)
{
	char append[64];
	char *rest[] = { "--kernel", image,          "--memory",    "64M", "--append",
			 append,     "--debug-exit", "--no-reboot", NULL };
	struct session s;
	int status;

	snprintf(image, sizeof(image), "%s/../bare/smp", session_need("GUEST"));
	snprintf(append, sizeof(append), "cpus=%s rounds=%s", cpus, ROUNDS);
	start(&s, engine, cpus, rest);
	session_expect(&s, "\ndone", LITMUS);
	assert_null(memmem(s.text, s.bytes, "not ok", 6));
	status = session_end(&s, 60);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1); /* 0 by debug-exit */
	session_close(&s);
}

static void test_boots_bt(void **state)
{
	(void)state;
	boots("bt");
}

static void test_boots_interp(void **state)
{
	(void)state;
	boots("interp");
}

static void test_litmus(void **state)
{
	(void)state;
	litmus("bt", "2");
	litmus("bt", "4");
	litmus("interp", "2");
	litmus("interp", "4");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boots_bt),
		cmocka_unit_test(test_boots_interp),
		cmocka_unit_test(test_litmus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
