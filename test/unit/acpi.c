/*
 * acpi.c - the ACPI tables as a guest finds them, and as iasl reads them.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <unistd.h>

#include "boot/acpi.h"
#include "boot/aml.h"
#include "test/cmocka.h"
#include "test/unit/boot_guest.h"

static unsigned pirq(unsigned device, unsigned pin)
{
	return (device + pin) & 7;
}

static const struct acpi_config config = {
	.cpus = 3,
	.lapic_base = 0xfee00000,
	.lapic_version = 0x14,
	.ioapic_base = 0xfec00000,
	.ioapic_id = 3,
	.ioapic_version = 0x20,
	.timer_gsi = 2,
	.nmi_lint = 1,
	.sci_irq = 9,
	.pm1a_evt = 0x600,
	.pm1a_cnt = 0x604,
	.pm_timer = 0x608,
	.smi_cmd = 0xb2,
	.acpi_enable = 2,
	.acpi_disable = 3,
	.s5_slp_typ = 5,
	.reset_port = 0xcf9,
	.reset_value = 6,
	.ecam = 0xb0000000,
	.pci_mem = 0xc0000000,
	.pci_mem_bytes = 0x3ec00000,
	.pci_mem64 = UINT64_C(1) << 38,
	.pci_mem64_bytes = UINT64_C(1) << 38,
	.pci_gsi = 16,
	.pci_irq = {10, 10, 11, 11, 10, 10, 11, 11},
	.pci_pirq = pirq,
	.com1_port = 0x3f8,
	.com1_irq = 4,
	.rtc_port = 0x70,
	.rtc_irq = 8,
	.kbd_data = 0x60,
	.kbd_command = 0x64,
	.kbd_irq = 1,
};

static uint8_t tables[ACPI_AREA_BYTES];
static size_t used;

static void build(unsigned cpus)
{
	struct acpi_config c = config;
	struct fail why;

	c.cpus = cpus;
	memset(tables, 0, sizeof(tables));
	assert_int_equal(acpi_build(&c, ACPI_AREA, tables, sizeof(tables), &used, &why), 0);
}

static uint8_t sum(const uint8_t *bytes, size_t count)
{
	uint8_t s = 0;

	while (count--)
		s = (uint8_t)(s + *bytes++);
	return s;
}

static const uint8_t *at_guest(uint64_t at)
{
	assert_true(at >= ACPI_AREA && at < ACPI_AREA + used);
	return tables + (at - ACPI_AREA);
}

/* A table the XSDT, or for the DSDT the FADT, names; its length and checksum are right. */
static const uint8_t *find(const char *signature)
{
	const uint8_t *xsdt = at_guest(get64(tables + 24)), *found = NULL;

	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, get32(xsdt + 4)), 0);
	for (uint32_t i = 36; i < get32(xsdt + 4); i += 8) {
		const uint8_t *t = at_guest(get64(xsdt + i));
		assert_int_equal(sum(t, get32(t + 4)), 0);
		if (!memcmp(t, signature, 4))
			found = t;
		if (!memcmp(t, "FACP", 4) && !memcmp(signature, "DSDT", 4))
			found = at_guest(get64(t + 140));
	}
	assert_non_null(found);
	assert_int_equal(sum(found, get32(found + 4)), 0);
	return found;
}

static void root_pointer_is_found(void **state)
{
	(void)state;
	build(1);
	assert_int_equal(ACPI_AREA & 15, 0);
	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_int_equal(sum(tables, 20), 0);
	assert_int_equal(sum(tables, 36), 0);
	assert_int_equal(tables[15], 2);
}

static void fadt_names_the_registers(void **state)
{
	(void)state;
	build(1);
	const uint8_t *t = find("FACP");
	assert_int_equal(get32(t + 4), 276);
	assert_int_equal(get16(t + 46), 9);
	assert_int_equal(get32(t + 48), 0xb2);
	assert_int_equal(get32(t + 56), 0x600);
	assert_int_equal(get32(t + 64), 0x604);
	assert_int_equal(get32(t + 76), 0x608);
	assert_int_equal(get16(t + 109), 0x7);
	assert_int_equal(get32(t + 112) & (1u << 10), 1u << 10);
	assert_int_equal(t[116], 1);
	assert_int_equal(get64(t + 120), 0xcf9);
	assert_int_equal(t[128], 6);
	const uint8_t *facs = at_guest(get32(t + 36));
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(get32(t + 36) & 63, 0);
	assert_int_equal(get32(t + 40), get64(t + 140));
}

static void mcfg_names_configuration_space(void **state)
{
	(void)state;
	build(1);
	const uint8_t *t = find("MCFG");
	assert_int_equal(get32(t + 4), 60);
	assert_int_equal(get64(t + 44), 0xb0000000);
	assert_int_equal(get32(t + 52), 0xff000000); /* segment 0, buses 0 to 255 */
}

static void madt_lists_cpus_and_overrides(void **state)
{
	unsigned count[5] = { 0 };

	(void)state;
	build(3);
	const uint8_t *t = find("APIC"), *e = t + 44, *end = t + get32(t + 4);
	assert_int_equal(get32(t + 36), 0xfee00000);
	for (; e < end; e += e[1]) {
		assert_true(e[0] <= 4 && e[1] >= 6);
		if (e[0] == 0)
			assert_int_equal(e[3], count[0]);
		if (e[0] == 1)
			assert_int_equal(get32(e + 4), 0xfec00000);
		if (e[0] == 2 && e[3] == 0)
			assert_int_equal(get32(e + 4), 2);
		if (e[0] == 2 && e[3] == 9)
			assert_int_equal(get16(e + 8), 0xd);
		if (e[0] == 4)
			assert_int_equal(e[2] << 8 | e[5], 0xff01);
		count[e[0]]++;
	}
	assert_ptr_equal(e, end);
	assert_int_equal(count[0], 3);
	assert_int_equal(count[1], 1);
	assert_int_equal(count[2], 2);
	assert_int_equal(count[4], 1);
}

static void aml_lengths_grow(void **state)
{
	static const size_t contents[] = { 0, 62, 63, 4093, 4094, 70000 };
	static uint8_t room[80000];

	(void)state;
	for (unsigned i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		struct blob b = { .bytes = room, .size = sizeof(room) };
		size_t mark = aml_scope(&b, "");
		for (size_t k = 0; k < contents[i]; k++)
			blob_le(&b, 0x55, 1);
		aml_close(&b, mark);
		assert_false(b.full);
		unsigned more = room[1] >> 6;
		size_t length = more ? (room[1] & 15) | get_le(room + 2, more) << 4 : room[1];
		assert_int_equal(length, b.used - 1);
		assert_int_equal(length, contents[i] + 1 + more);
	}
}

static void aml_eisa_ids(void **state)
{
	static const uint8_t expected[] = { 0x0c, 0x41, 0xd0, 0x05, 0x01 };
	uint8_t room[5];
	struct blob b = { .bytes = room, .size = sizeof(room) };

	(void)state;
	aml_eisa_id(&b, "PNP0501");
	assert_memory_equal(room, expected, 5);
	blob_le(&b, 0, 1);
	assert_true(b.full);
}

static void refuses_what_does_not_fit(void **state)
{
	struct acpi_config c = config;
	struct fail why;

	(void)state;
	c.cpus = ACPI_CPUS_MAX;
	build(ACPI_CPUS_MAX);
	size_t need = used;
	for (size_t size = 0; size < need; size += 7)
		assert_int_equal(acpi_build(&c, ACPI_AREA, tables, size, &used, &why), -ENOSPC);
	assert_int_equal(acpi_build(&c, ACPI_AREA, tables, need, &used, &why), 0);
	c.cpus = ACPI_CPUS_MAX + 1;
	assert_int_equal(acpi_build(&c, ACPI_AREA, tables, need, &used, &why), -EINVAL);
}

static void writes_where_it_says(void **state)
{
	struct boot_guest g;
	uint64_t rsdp;

	(void)state;
	build(3);
	guest_open(&g, UINT64_C(4) << 20);
	assert_int_equal(acpi_write(&g.vm.mem, &config, &rsdp, &g.why), 0);
	assert_memory_equal(guest_at(&g, rsdp, used), tables, used);
	guest_close(&g);
	guest_open(&g, 65536); /* no table area */
	assert_int_equal(acpi_write(&g.vm.mem, &config, &rsdp, &g.why), -EFAULT);
	guest_close(&g);
}

/* ---- the script ---- */

/* A file of the script: ACPI_FILE_RSDP or ACPI_FILE_TABLES. */
static uint8_t *file_of(const uint8_t *name, uint8_t *root, uint8_t *rest)
{
	if (strcmp((const char *)name, ACPI_FILE_RSDP) == 0)
		return root;
	assert_string_equal(name, ACPI_FILE_TABLES);
	return rest;
}

/* What firmware does that puts the tables at ACPI_AREA. */
static void follow(const uint8_t *command, uint8_t *root, uint8_t *rest)
{
	uint8_t *file = file_of(command + 4, root, rest);
	uint32_t at, start, bytes;

	switch (get32(command)) {
	case 1:
		assert_int_equal(get32(command + 60) & (get32(command + 60) - 1), 0);
		assert_int_equal(command[64], file == root ? 2 : 1); /* the root is searched for */
		break;
	case 2:
		assert_string_equal(command + 60, ACPI_FILE_TABLES);
		at = get32(command + 116);
		put_le(file + at, get_le(file + at, command[120]) + ACPI_AREA, command[120]);
		break;
	case 3:
		at = get32(command + 60);
		start = get32(command + 64);
		bytes = get32(command + 68);
		assert_true(at >= start && at < start + bytes && bytes < used);
		file[at] = (uint8_t)(file[at] - sum(file + start, bytes));
		break;
	default: assert_true(false);
	}
}

/* Built for nowhere and installed by the script they are what they would be if built in place. */
static void script_installs(void **state)
{
	static uint8_t loose[ACPI_AREA_BYTES], script[4096], root[ACPI_RSDP_BYTES];
	size_t script_bytes;
	struct fail why;

	(void)state;
	build(config.cpus);
	assert_int_equal(acpi_build(&config, 0, loose, sizeof(loose), &used, &why), 0);
	assert_int_equal(acpi_script_build(loose, script, sizeof(script), &script_bytes, &why), 0);
	assert_int_equal(script_bytes % 128, 0);
	memcpy(root, loose, sizeof(root));
	for (size_t i = 0; i < script_bytes; i += 128)
		follow(script + i, root, loose);
	assert_memory_equal(root, tables, sizeof(root));
	assert_memory_equal(loose + sizeof(root), tables + sizeof(root), used - sizeof(root));
	assert_int_equal(acpi_build(&config, 0, loose, sizeof(loose), &used, &why), 0);
	assert_int_equal(acpi_script_build(loose, script, script_bytes - 1, &script_bytes, &why),
			 -ENOSPC);
}

/* ---- iasl ---- */

static char directory[] = "/tmp/trapeze-acpi-XXXXXX";

static void dump(const char *name, const uint8_t *bytes, size_t size)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

static int run(const char *command)
{
	char line[400];

	snprintf(line, sizeof(line), "cd %s && %s", directory, command);
	return system(line);
}

/* Disassembled and compiled again without an error; the DSDT to the same bytes. */
static void iasl_agrees(void **state)
{
	static const char *const name[] = { "FACP", "APIC", "MCFG", "DSDT" };

	(void)state;
	if (system("iasl -v >/dev/null 2>&1") != 0) {
		print_message("skipped: iasl (package acpica-tools) is not installed\n");
		skip();
	}
	assert_non_null(mkdtemp(directory));
	build(ACPI_CPUS_MAX);
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *t = find(name[i]);
		char file[10];
		snprintf(file, sizeof(file), "%s.aml", name[i]);
		dump(file, t, get32(t + 4));
	}
	dump("FACS.aml", at_guest(get32(find("FACP") + 36)), 64);
	const uint8_t *xsdt = at_guest(get64(tables + 24));
	dump("XSDT.aml", xsdt, get32(xsdt + 4));
	dump("RSDP.aml", tables, 36);
	assert_int_equal(
		run("for t in FACP APIC MCFG DSDT FACS XSDT; do"
		    " iasl -d $t.aml >$t.d 2>&1 || exit 1;"
		    " grep -iE 'error|invalid|warning' $t.d && exit 1;"
		    " iasl -oa -p again-$t $t.dsl >$t.c 2>&1 || exit 1;"
		    " grep -q ' 0 Errors, 0 Warnings' $t.c || { cat $t.c; exit 1; }; done"),
		0);
	/* The compiler puts its own name and version at bytes 28 to 35, and so the checksum at 9.
	 */
	assert_int_equal(run("cmp -i 36 DSDT.aml again-DSDT.aml"), 0);
	assert_int_equal(run("cmp -n 8 DSDT.aml again-DSDT.aml"), 0);
	assert_int_equal(run("rm -f *.aml *.dsl *.d *.c"), 0);
	assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_pointer_is_found),
		cmocka_unit_test(fadt_names_the_registers),
		cmocka_unit_test(mcfg_names_configuration_space),
		cmocka_unit_test(madt_lists_cpus_and_overrides),
		cmocka_unit_test(aml_lengths_grow),
		cmocka_unit_test(aml_eisa_ids),
		cmocka_unit_test(refuses_what_does_not_fit),
		cmocka_unit_test(writes_where_it_says),
		cmocka_unit_test(script_installs),
		cmocka_unit_test(iasl_agrees),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
