/*
 * firmware.c - a machine with firmware, screen and keyboard, saved anywhere in SeaBIOS' self-test.
 *
 * The copy, loaded into a machine that has just been switched on, goes on as the original does.
 *
 * SPDX-License-Identifier: MIT
 */
#include <unistd.h>

#include "device/ps2kbd.h"
#include "test/cmocka.h"
#include "test/save/rig.h"
#include "test/save/stream.h"

#define IMAGE  "/usr/share/seabios/bios-256k.bin"
#define STRIDE 1500000 /* instructions from one point to the next */
#define POINTS 25

static struct pc *open_bios(void)
{
	struct pc_config config = {
		.engine = engine_auto(ENGINE_COUNTED, NULL),
		.vcpus = 1,
		.memory = UINT64_C(4) << 20,
		.counted = true,
		.firmware = IMAGE,
		.boot_menu = true,
		.serial_screen = true,
	};
	struct fail why = { 0, "no engine" };
	struct pc *pc = config.engine ? pc_open(&config, &why) : NULL;

	if (!pc) {
		fprintf(stderr, "firmware: %s\n", why.text);
		abort();
	}
	return pc;
}

static void run(struct pc *pc, uint64_t instructions)
{
	int status;

	assert_int_equal(vm_run(pc->vm, instructions, &status, NULL), VM_NONE);
}

static void same(struct pc *one, struct pc *two)
{
	struct save_hash a = save_hash(one->vm), b = save_hash(two->vm);

	assert_true(a.low == b.low && a.high == b.high);
}

static void type(struct pc *pc, uint8_t key)
{
	struct ps2_event events[2] = {
		{key,  1},
                { key, 0}
	};

	assert_int_equal(device_post(pc->keyboard, events, sizeof(events)), 0);
}

static void test_anywhere(void **state)
{
	struct pc *pc;

	(void)state;
	if (access(IMAGE, R_OK) != 0) {
		print_message("skip - saved firmware: %s is missing (package seabios)\n", IMAGE);
		skip();
	}
	pc = open_bios();
	for (unsigned i = 0; i < POINTS; i++) {
		struct pc *copy = open_bios();
		struct stream s;
		struct fail why;

		run(pc, STRIDE);
		if (i % 4 == 3)
			type(pc, 0x01);
		run(pc, 1000 * i); /* with a key half way */
		s = stream_of(pc);
		if (stream_load(&s, copy, &why))
			fprintf(stderr, "%s\n", why.text);
		same(pc, copy);
		run(pc, 200000);
		run(copy, 200000);
		same(pc, copy);
		free(s.data);
		pc_close(copy);
	}
	pc_close(pc);
}

/* A reset puts the image back that firmware wrote into: it starts from the same place. */
static void test_reset(void **state)
{
	uint8_t *shadow, *image;
	struct fail why;
	struct pc *pc;

	(void)state;
	if (access(IMAGE, R_OK) != 0)
		skip();
	pc = open_bios();
	shadow = mem_host(&pc->vm->mem, gpa(0xc0000), 0x40000);
	image = malloc(0x40000);
	memcpy(image, shadow, 0x40000);
	run(pc, 10000000);
	assert_memory_not_equal(shadow, image, 0x40000);
	vm_reset(pc->vm);
	assert_int_equal(pc->vm->booted(pc->vm->booted_arg, &why), 0);
	assert_memory_equal(shadow, image, 0x40000);
	free(image);
	pc_close(pc);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_anywhere),
		cmocka_unit_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
