/*
 * mptable.c - the MP table as a guest finds it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "boot/acpi.h"
#include "test/cmocka.h"
#include "test/unit/boot_guest.h"

static const struct acpi_config config = {
	.cpus = 4,
	.cpu_signature = 0x906ea,
	.cpu_features = 0x0f8bfbff,
	.lapic_base = 0xfee00000,
	.lapic_version = 0x14,
	.ioapic_base = 0xfec00000,
	.ioapic_id = 4,
	.ioapic_version = 0x20,
	.timer_gsi = 2,
	.nmi_lint = 1,
	.sci_irq = 9,
};

static void pointer_and_header(void **state)
{
	uint8_t t[1024], sum = 0;
	struct fail why;
	size_t used;

	(void)state;
	assert_int_equal(mptable_build(&config, MPTABLE_AREA, t, sizeof(t), &used, &why), 0);
	assert_memory_equal(t, "_MP_", 4);
	for (unsigned i = 0; i < 16; i++)
		sum = (uint8_t)(sum + t[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(get32(t + 4), MPTABLE_AREA + 16);
	assert_memory_equal(t + 16, "PCMP", 4);
	assert_int_equal(get16(t + 20), used - 16);
	for (unsigned i = 16; i < used; i++)
		sum = (uint8_t)(sum + t[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(get32(t + 16 + 36), 0xfee00000);
}

static void entries_say_what_is_wired(void **state)
{
	static const uint8_t size[5] = { 20, 8, 8, 8, 8 };
	unsigned count[5] = { 0 }, all = 0, seen = 0;
	uint8_t t[1024];
	struct fail why;
	size_t used;

	(void)state;
	assert_int_equal(mptable_build(&config, MPTABLE_AREA, t, sizeof(t), &used, &why), 0);
	const uint8_t *e = t + 16 + 44;
	for (; e < t + used; e += size[e[0]], all++) {
		assert_true(e[0] <= 4);
		if (e[0] == 0) {
			assert_int_equal(e[1], count[0]);
			assert_int_equal(e[3], count[0] ? 1 : 3);
		}
		if (e[0] == 2)
			assert_int_equal(get32(e + 4), 0xfec00000);
		if (e[0] == 3) {
			assert_int_equal(e[7], e[5] == 0 ? 2 : e[5]);
			assert_int_equal(get16(e + 2), e[5] == 9 ? 0xd : 0);
			assert_int_equal(e[6], 4);
			seen |= 1u << e[5];
		}
		if (e[0] == 4)
			assert_int_equal(e[7], e[1] == 1 ? 1 : 0);
		count[e[0]]++;
	}
	assert_ptr_equal(e, t + used);
	assert_int_equal(all, get16(t + 16 + 34));
	assert_int_equal(count[0], 4);
	assert_int_equal(seen, 0xfffb);
	assert_int_equal(count[4], 2);
}

static unsigned pirq(unsigned device, unsigned pin)
{
	return (device + pin) & 7;
}

static void pci_pins_are_there(void **state)
{
	static const uint8_t size[5] = { 20, 8, 8, 8, 8 };
	struct acpi_config c = config;
	uint8_t t[4096];
	unsigned pins = 0, isa = 0;
	struct fail why;
	size_t used;

	(void)state;
	c.ecam = 0xb0000000;
	c.pci_gsi = 16;
	c.pci_pirq = pirq;
	assert_int_equal(mptable_build(&c, MPTABLE_AREA, t, sizeof(t), &used, &why), 0);
	for (const uint8_t *e = t + 16 + 44; e < t + used; e += size[e[0]]) {
		if (e[0] == 1)
			assert_memory_equal(e + 2, e[1] == 0 ? "PCI" : "ISA", 3);
		if (e[0] == 3 && e[4] == 0) {
			assert_int_equal(e[5], pins++);
			assert_int_equal(e[7], 16 + pirq(e[5] >> 2, (e[5] & 3) + 1));
			assert_int_equal(get16(e + 2), 0);
		} else if (e[0] == 3) {
			assert_int_equal(e[4], 1);
			isa++;
		}
	}
	assert_int_equal(pins, 128);
	assert_int_equal(isa, 15);
}

static void writes_and_refuses(void **state)
{
	struct acpi_config c = config;
	struct boot_guest g;
	uint8_t t[4096];
	size_t used;

	(void)state;
	c.cpus = ACPI_CPUS_MAX;
	guest_open(&g, UINT64_C(4) << 20);
	assert_int_equal(mptable_write(&g.vm.mem, &c, &g.why), 0);
	assert_int_equal(mptable_build(&c, MPTABLE_AREA, t, sizeof(t), &used, &g.why), 0);
	assert_memory_equal(guest_at(&g, MPTABLE_AREA, used), t, used);
	assert_int_equal(mptable_build(&c, MPTABLE_AREA, t, used - 1, &used, &g.why), -ENOSPC);
	c.cpus = 0;
	assert_int_equal(mptable_write(&g.vm.mem, &c, &g.why), -EINVAL);
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(pointer_and_header),
		cmocka_unit_test(entries_say_what_is_wired),
		cmocka_unit_test(pci_pins_are_there),
		cmocka_unit_test(writes_and_refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
