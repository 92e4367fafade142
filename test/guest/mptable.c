/*
 * mptable.c - Debian's kernel for any machine without ACPI (the one for clouds reads no MP table):
 * the MP table alone tells it of its CPUs, of the IOAPIC, and to which of its inputs ISA's and
 * PCI's interrupts lead. A shared directory is then mounted through a PCI interrupt pin.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/directory.h"
#include "test/guest/guest.h"

static void command(struct session *s, const char *text, const char *answer)
{
	guest_type(s, text);
	session_expect(s, answer, GUEST_SECONDS);
	session_expect(s, GUEST_PROMPT, GUEST_SECONDS);
}

static void test_without_acpi(void **state)
{
	char share[100];
	struct session s;

	(void)state;
	directory_put("file", "by a pin\n");
	snprintf(share, sizeof(share), "%s:tag", directory);
	session_start(&s, guest_command("console=ttyS0 acpi=off pci=nomsi",
					GUEST_WORDS("--cpus", "4", "--share", share)));
	session_expect(&s, "Intel MultiProcessor Specification v1.4", GUEST_SECONDS);
	session_expect(&s, "MPTABLE: OEM ID: TRAPEZE", GUEST_SECONDS);
	session_expect(&s, "Brought up 1 node, 4 CPUs", GUEST_SECONDS);
	session_expect(&s, "PCI->APIC IRQ transform", GUEST_SECONDS);
	session_expect(&s, GUEST_PROMPT, GUEST_SECONDS);
	command(&s, "echo cpus=$(nproc)", "cpus=4\r");
	command(&s, "mkdir /m; mount -t 9p -o trans=virtio tag /m; cat /m/file", "by a pin\r");
	command(&s,
		"echo pins=$(grep -cE 'IO-APIC +(4-edge +ttyS0|[0-9]+-fasteoi +virtio)' "
		"/proc/interrupts)",
		"pins=2\r");
	command(&s, "dmesg | grep -cE 'BUG|WARNING|Call Trace|nobody cared'", "\n0\r");
	session_type(&s, "\001x");
	assert_int_equal(session_end(&s, GUEST_SECONDS), 0);
	session_check_terminal(&s);
	session_close(&s);
}

static int tear_down(void **state)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/file", directory);
	unlink(path);
	return directory_remove(state);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_without_acpi) };

	guest_kernel = "stock/vmlinuz";
	guest_initrd = "stock/initramfs.gz";
	return cmocka_run_group_tests(tests, directory_make, tear_down);
}
