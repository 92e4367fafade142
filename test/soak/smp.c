/*
 * smp.c - the stock Debian kernel on two and on four CPUs, twenty times each on each software
 * engine, with no hang and no complaint; on four that have one processor of the host; and on 64,
 * counted.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/session.h"
#include "test/processors.h"

#define BOOTS        20
#define BOOT_SECONDS 300

static char kernel[4200], initrd[4200];

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

/* `more`: another option, or NULL. */
static void boot(const char *engine, const char *cpus, char *more)
{
	static const char *const complaints[] = { "BUG:", "WARNING:", "Call Trace", "stall",
						  "inconsistent" };
	char *rest[] = { "--kernel", kernel,     "--initrd",
			 initrd,     "--append", "console=ttyS0 trapeze.intro",
			 "--memory", "1G",       more,
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

static void find_kernel(void)
{
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
}

static void boots(const char *engine)
{
	find_kernel();
	for (unsigned i = 0; i < BOOTS; i++) {
		boot(engine, "2", NULL);
		boot(engine, "4", NULL);
	}
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

/* Their threads never run at the same time, and who waits for a lock waits for the holder's turn.
 */
static void test_one_processor(void **state)
{
	cpu_set_t all = processors_give(0, 0);

	(void)state;
	find_kernel();
	for (unsigned i = 0; i < BOOTS / 4; i++) {
		boot("bt", "4", NULL);
		boot("interp", "4", NULL);
	}
	processors_return(&all);
}

static void test_as_many_as_there_can_be(void **state)
{
	(void)state;
	find_kernel();
	boot("bt", "64", "--counted");
	boot("interp", "64", "--counted");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boots_bt),
		cmocka_unit_test(test_boots_interp),
		cmocka_unit_test(test_one_processor),
		cmocka_unit_test(test_as_many_as_there_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
