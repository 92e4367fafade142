/*
 * boot.c - test of the program with Debian's kernel on this host's KVM, and changing engines on the
 * way; where KVM is good for it. (test/rig/nested makes a host where it is.)
 *
 * SPDX-License-Identifier: MIT
 */
#include <sys/stat.h>

#include "test/guest/session.h"
#include "test/rig/rig.h"

static char kernel[512], initrd[512];

static void boot(const char *engine, const char *switches, const char *ends_on)
{
	char program[512], line[128], stats[] = "/tmp/trapeze-stats-XXXXXX", text[8192] = "";
	int fd = mkstemp(stats), status;
	struct session s;
	char *argv[] = { program,
			 "run",
			 "--kernel",
			 kernel,
			 "--initrd",
			 initrd,
			 "--append",
			 "console=ttyS0 trapeze.intro",
			 "--memory",
			 "256M",
			 "--stats",
			 stats,
			 "--engine",
			 (char *)engine,
			 switches ? "--switch" : NULL,
			 (char *)switches,
			 NULL };

	snprintf(program, sizeof(program), "%s", session_need("TRAPEZE"));
	session_start(&s, argv);
	session_expect(&s, "Hypervisor: yes", 240);
	status = session_end(&s, 120);
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_null(strstr(s.text, "Call Trace"));
	session_check_terminal(&s);
	session_close(&s);
	assert_true(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	unlink(stats);
	snprintf(line, sizeof(line), "\"engine\": \"%s\"", ends_on);
	assert_non_null(strstr(text, line));
}

static void test_boot(void **state)
{
	(void)state;
	boot("kvm", NULL, "kvm");
}

static void test_auto(void **state)
{
	(void)state;
	boot("auto", NULL, "kvm");
}

static void test_switches(void **state)
{
	(void)state;
	boot("kvm", "interp@100ms,kvm@300ms,interp@400ms,kvm@800ms,interp@1s,kvm@1200ms", "kvm");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot),
		cmocka_unit_test(test_auto),
		cmocka_unit_test(test_switches),
	};
	int skip = rig_skip("boot");

	if (skip)
		return skip;
	if (rig_emulated()) {
		puts("skip - boot: this KVM emulates ring 0: a kernel would take an hour");
		return 77;
	}
	if (rig_in_qemu() || !getenv("TRAPEZE") || !getenv("GUEST")) {
		puts("skip - boot: test/rig/nested does this itself");
		return 77;
	}
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
