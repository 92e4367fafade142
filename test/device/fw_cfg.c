/*
 * fw_cfg.c - tests of the firmware's questions: selector and data port, directory, DMA.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/fw_cfg.h"
#include "test/device/harness.h"

enum { SELECTOR = 0x510, DATA = 0x511, DMA = 0x514 };
enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };
enum { RAM = 0x10000, REQUEST = 0x1000, BUFFER = 0x2000, LARGE = 8 << 20 };

static const char hello[] = "hello, firmware";
static const uint8_t cpus[2] = { 7, 0 };

static void build(struct rig *rig)
{
	static const struct fw_cfg_item items[] = {
		{.name = "etc/hello",						.bytes = hello, .size = sizeof(hello)},
		{ .key = FW_CFG_CPUS,						.bytes = cpus,  .size = 2            },
		{ .name = "a-name-of-55-characters................................",
                 .bytes = "x",
                 .size = 1												},
	};
	struct fw_cfg_config config = {
		.id = "fw_cfg", .ports = SELECTOR, .items = items, .count = 3
	};
	struct fail why;

	assert_int_equal(mem_add(rig->vm, gpa(0), RAM, NULL, false, &why), 0);
	assert_int_equal(fw_cfg_create(rig->vm, &config, &why), 0);
}

static void select_item(struct rig *rig, uint16_t key)
{
	rig_out(rig, SELECTOR, key, 2);
}

static uint32_t read_be(struct rig *rig, unsigned bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | inb(rig, DATA);
	return value;
}

static void test_numbered_items(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	select_item(&rig, FW_CFG_SIGNATURE);
	assert_int_equal(read_be(&rig, 4), 0x51454d55); /* "QEMU" */
	select_item(&rig, FW_CFG_ID);
	assert_int_equal(read_be(&rig, 4), 0x03000000); /* little-endian 3 */
	select_item(&rig, FW_CFG_CPUS);
	assert_int_equal(inb(&rig, DATA), 7);
	assert_int_equal(inb(&rig, DATA), 0);
	assert_int_equal(inb(&rig, DATA), 0); /* beyond the end */
	select_item(&rig, 0x7777);
	assert_int_equal(inb(&rig, DATA), 0);
	vm_reset(rig.vm);
	assert_int_equal(inb(&rig, DATA), 'Q');
	rig_close(&rig);
}

/* Finds the key of a file as SeaBIOS does. */
static uint16_t find(struct rig *rig, const char *name, uint32_t *size)
{
	uint32_t files;

	select_item(rig, FW_CFG_DIRECTORY);
	files = read_be(rig, 4);
	for (uint32_t i = 0; i < files; i++) {
		char found[FW_CFG_NAME_MAX];
		uint16_t key;

		*size = read_be(rig, 4);
		key = (uint16_t)read_be(rig, 2);
		assert_int_equal(read_be(rig, 2), 0);
		for (unsigned j = 0; j < sizeof(found); j++)
			found[j] = (char)inb(rig, DATA);
		if (strcmp(found, name) == 0)
			return key;
	}
	return 0;
}

static void test_files(void **state)
{
	struct rig rig;
	uint32_t size;

	(void)state;
	rig_open(&rig, build);
	select_item(&rig, find(&rig, "etc/hello", &size));
	assert_int_equal(size, sizeof(hello));
	for (unsigned i = 0; i < sizeof(hello); i++)
		assert_int_equal(inb(&rig, DATA), hello[i]);
	assert_int_equal(find(&rig, "etc/nothing", &size), 0);
	/* The ports take what they are for, and nothing else. */
	select_item(&rig, FW_CFG_SIGNATURE);
	outb(&rig, SELECTOR, 5);
	outb(&rig, DATA, 5);
	assert_int_equal(inb(&rig, DATA), 'Q');
	assert_int_equal(inb(&rig, SELECTOR), 0);
	rig_close(&rig);
}

static void put_be(uint8_t *to, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Runs a request; returns what its control word became. */
static uint32_t dma(struct rig *rig, uint32_t control, uint32_t bytes, uint64_t to)
{
	uint8_t request[16];

	put_be(request, control);
	put_be(request + 4, bytes);
	put_be(request + 8, (uint32_t)(to >> 32));
	put_be(request + 12, (uint32_t)to);
	assert_int_equal(mem_write(&rig->vm->mem, gpa(REQUEST), request, sizeof(request)), 0);
	rig_out(rig, DMA, 0, 4);
	rig_out(rig, DMA + 4, __builtin_bswap32(REQUEST), 4);
	mem_read(&rig->vm->mem, gpa(REQUEST), request, 4);
	return (uint32_t)request[0] << 24 | (uint32_t)request[1] << 16 | (uint32_t)request[2] << 8 |
	       request[3];
}

static void test_dma(void **state)
{
	struct rig rig;
	uint32_t size, key;
	char text[20];

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(rig_in(&rig, DMA, 4), 0x554d4551); /* "QEMU" */
	assert_int_equal(rig_in(&rig, DMA + 4, 4), 0x47464320);
	key = (uint32_t)find(&rig, "etc/hello", &size) << 16;
	assert_int_equal(dma(&rig, key | SELECT | READ, 5, BUFFER), 0);
	assert_int_equal(dma(&rig, SKIP, 2, 0), 0);
	assert_int_equal(dma(&rig, READ, 13, BUFFER + 5), 0); /* 4 beyond the end */
	mem_read(&rig.vm->mem, gpa(BUFFER), text, sizeof(text));
	assert_memory_equal(text, "hellofirmware\0\0\0\0", 17);
	rig_close(&rig);
}

static void test_dma_refuses(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	assert_int_equal(dma(&rig, FW_CFG_CPUS << 16 | SELECT | WRITE, 2, BUFFER), ERROR);
	assert_int_equal(inb(&rig, DATA), 7); /* selected all the same */
	assert_int_equal(dma(&rig, SELECT | READ, 16, RAM - 8), ERROR);
	assert_int_equal(dma(&rig, READ, UINT32_MAX, 0), ERROR);
	assert_int_equal(dma(&rig, SKIP, UINT32_MAX, 0), 0);
	assert_int_equal(dma(&rig, SKIP, UINT32_MAX, 0), 0);
	assert_int_equal(inb(&rig, DATA), 0); /* it did not come round */
	assert_int_equal(dma(&rig, 0, 0, 0), 0);
	/* A request that is nowhere, and one at the end of memory. */
	rig_out(&rig, DMA, 0xffffffff, 4);
	rig_out(&rig, DMA + 4, 0xffffffff, 4);
	rig_out(&rig, DMA + 4, __builtin_bswap32(RAM - 4), 4);
	rig_close(&rig);
}

static void build_large(struct rig *rig)
{
	struct fail why;

	build(rig);
	assert_int_equal(mem_add(rig->vm, gpa(LARGE), LARGE, NULL, false, &why), 0);
}

/* Zeroes without end would be written while the machine waits. */
static void test_far_beyond_the_end(void **state)
{
	uint32_t size, key;
	uint8_t bytes[20];
	struct rig rig;

	(void)state;
	rig_open(&rig, build_large);
	key = (uint32_t)find(&rig, "etc/hello", &size) << 16;
	memset(bytes, 0x5a, sizeof(bytes));
	assert_int_equal(mem_write(&rig.vm->mem, gpa(LARGE), bytes, sizeof(bytes)), 0);
	assert_int_equal(dma(&rig, key | SELECT | READ, LARGE, LARGE), ERROR);
	mem_read(&rig.vm->mem, gpa(LARGE), bytes, sizeof(bytes));
	assert_int_equal(bytes[0], 0x5a);
	assert_int_equal(dma(&rig, READ, UINT32_MAX, LARGE), ERROR);
	/* As many as some firmware might. */
	mem_write(&rig.vm->mem, gpa(LARGE + (1 << 20) - 1), bytes, 2);
	assert_int_equal(dma(&rig, READ, 1 << 20, LARGE), 0);
	mem_read(&rig.vm->mem, gpa(LARGE), bytes, sizeof(bytes));
	assert_memory_equal(bytes, "hello, firmware\0\0\0\0", 20);
	mem_read(&rig.vm->mem, gpa(LARGE + (1 << 20) - 1), bytes, 2);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(bytes[1], 0x5a);
	rig_close(&rig);
}

static void test_limits(void **state)
{
	static struct fw_cfg_item items[FW_CFG_ITEMS_MAX + 1];
	struct fw_cfg_config config = { .id = "fw_cfg", .ports = SELECTOR, .items = items };
	struct fail why = { 0 };
	struct rig rig;

	(void)state;
	rig_open(&rig, build);
	config.count = FW_CFG_ITEMS_MAX + 1;
	assert_int_equal(fw_cfg_create(rig.vm, &config, &why), -EINVAL);
	items[0].name = "a-name-of-56-characters.................................";
	config.count = 1;
	assert_int_equal(fw_cfg_create(rig.vm, &config, &why), -EINVAL);
	assert_non_null(strstr(why.text, "too long"));
	rig_close(&rig);
}

static void test_fuzz(void **state)
{
	struct fuzz fuzz = {
		build, {{ SELECTOR, 2 }, { DMA, 8 }},
                 .rounds = 200, .longest_ns = 1000
	};

	(void)state;
	fuzz_registers(&fuzz);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbered_items),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_dma),
		cmocka_unit_test(test_dma_refuses),
		cmocka_unit_test(test_far_beyond_the_end),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
