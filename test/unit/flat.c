/*
 * flat.c - flat binaries, and what boot_load() says about files it will not take.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/directory.h"
#include "test/unit/boot_guest.h"

#define MIB (UINT64_C(1) << 20)

static char path[400];

static const char *in_directory(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void make_file(const char *name, const void *bytes, size_t size)
{
	FILE *f = fopen(in_directory(name), "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

static int teardown(void **state)
{
	static const char *const name[] = { "code", "big", "empty", "pipe", "text" };

	for (unsigned i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		unlink(in_directory(name[i]));
	return directory_remove(state);
}

static int load(struct boot_guest *g, const char *flat, uint64_t at)
{
	g->config.flat = flat;
	g->config.flat_at = at;
	return boot_load(&g->vm.mem, &g->config, &g->state, &g->why);
}

static void enters_in_real_mode(void **state)
{
	static const struct {
		uint64_t at;
		uint16_t cs, ip, sp;
	} row[] = {
		{0,        0,      0,      0     },
		{ 0x7c00,  0,      0x7c00, 0x7c00},
		{ 0xfff0,  0,      0xfff0, 0xfff0},
		{ 0x12345, 0x1234, 5,      0     }
	};
	static const uint8_t code[] = { 0xf4, 0xeb, 0xfd };
	struct boot_guest g;

	(void)state;
	make_file("code", code, sizeof(code));
	guest_open(&g, 640 << 10);
	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_int_equal(load(&g, in_directory("code"), row[i].at), 0);
		assert_null(guest_entry_fault(&g));
		assert_true(x86_real_mode(&g.state));
		assert_int_equal(g.state.seg[CS].selector, row[i].cs);
		assert_int_equal(g.state.seg[CS].base, row[i].cs * 16);
		assert_int_equal(g.state.rip, row[i].ip);
		assert_int_equal(g.state.seg[SS].base, 0);
		assert_int_equal(g.state.gpr[RSP], row[i].sp);
		assert_memory_equal(guest_at(&g, row[i].at, 3), code, 3);
	}
	assert_int_equal(*guest_at(&g, 0x413, 1), 0); /* nothing else is written */
	guest_close(&g);
}

static void enters_in_protected_mode(void **state)
{
	struct boot_guest g;

	(void)state;
	make_file("code", "\xf4", 1);
	guest_open(&g, 4 * MIB);
	assert_int_equal(load(&g, in_directory("code"), 2 * MIB), 0);
	assert_null(guest_entry_fault(&g));
	assert_null(guest_gdt_fault(&g));
	assert_false(x86_real_mode(&g.state));
	assert_int_equal(g.state.rip, 2 * MIB);
	guest_close(&g);
}

static void fits_the_smallest_machine(void **state)
{
	static uint8_t code[16384];
	struct boot_guest g;

	(void)state;
	make_file("big", code, sizeof(code));
	guest_open(&g, 16384);
	assert_int_equal(load(&g, in_directory("big"), 0), 0);
	assert_int_equal(load(&g, in_directory("big"), 1), -EFAULT);
	guest_close(&g);
	guest_open(&g, 12288);
	assert_int_equal(load(&g, in_directory("big"), 0), -EFBIG);
	assert_non_null(strstr(g.why.text, "its 16384 bytes do not fit in the guest's 12288"));
	guest_close(&g);
}

static void refuse(const char *name, uint64_t at, const char *reason)
{
	char expected[500];
	struct boot_guest g;

	guest_open(&g, 2 * MIB);
	assert_true(load(&g, name, at) < 0);
	snprintf(expected, sizeof(expected), "%s: %s", name, reason);
	assert_string_equal(g.why.text, expected);
	guest_close(&g);
}

static void refuses_files(void **state)
{
	(void)state;
	make_file("empty", "", 0);
	make_file("code", "\xf4", 1);
	assert_int_equal(mkfifo(in_directory("pipe"), 0600), 0);
	refuse(in_directory("missing"), 0, "No such file or directory");
	refuse(in_directory("empty"), 0, "is empty");
	refuse(in_directory("pipe"), 0, "is a pipe");
	refuse(directory, 0, "is a directory");
	refuse("/dev/null", 0, "is a device");
	refuse(in_directory("code"), MAP_HIGH,
	       "a flat binary is entered below 4 GiB, not at 0x100000000");
	refuse(in_directory("code"), 0xa0000,
	       "needs 1 bytes at 0xa0000, where this machine has no free memory");
	refuse(in_directory("code"), UINT64_C(2) << 20,
	       "needs 1 bytes at 0x200000, where this machine has no free memory");
}

static void refuses_what_is_no_kernel(void **state)
{
	struct boot_guest g;

	(void)state;
	make_file("text", "just some text", 14);
	guest_open(&g, 2 * MIB);
	g.config.kernel = in_directory("text");
	assert_int_equal(boot_load(&g.vm.mem, &g.config, &g.state, &g.why), -ENOEXEC);
	assert_non_null(strstr(g.why.text, "text: not a kernel"));
	g.config.initrd = "/nowhere/initrd";
	assert_int_equal(boot_load(&g.vm.mem, &g.config, &g.state, &g.why), -ENOENT);
	assert_string_equal(g.why.text, "/nowhere/initrd: No such file or directory");
	g.config.flat = path; /* both */
	assert_int_equal(boot_load(&g.vm.mem, &g.config, &g.state, &g.why), -EINVAL);
	g.config.kernel = g.config.flat = NULL;
	assert_int_equal(boot_load(&g.vm.mem, &g.config, &g.state, &g.why), -EINVAL);
	guest_close(&g);
}

/* The reason must not be pushed out of the sentence. */
static void shortens_long_names(void **state)
{
	char name[3000];
	struct boot_guest g;

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	for (unsigned i = 100; i < sizeof(name) - 1; i += 100)
		name[i] = '/';
	memcpy(name + sizeof(name) - 5, "/end", 5);
	guest_open(&g, 2 * MIB);
	assert_int_equal(load(&g, name, 0), -ENOENT);
	assert_non_null(strstr(g.why.text, "/end: No such file or directory"));
	assert_ptr_equal(strstr(g.why.text, "..."), g.why.text);
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(enters_in_real_mode),
		cmocka_unit_test(enters_in_protected_mode),
		cmocka_unit_test(fits_the_smallest_machine),
		cmocka_unit_test(refuses_files),
		cmocka_unit_test(refuses_what_is_no_kernel),
		cmocka_unit_test(shortens_long_names),
	};
	return cmocka_run_group_tests(tests, directory_make, teardown);
}
