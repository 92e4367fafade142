/*
 * share.c - Debian's kernel mounts a directory; random operations there, compared with the host's
 * view.
 *
 * The host makes a script of random writes, truncations, renames and removals and does the same to
 * copies in its memory; the guest runs the script. Then both compare: the host what lies in the
 * directory with its copies, the guest what it reads with files the host made of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/guest.h"

#define FILES  3
#define MOST   (1u << 20)
#define DATA   65536u
#define STEPS  25
#define ROUNDS 3

static char directory[] = "/tmp/trapeze-share-XXXXXX", words[100];
static unsigned char data[DATA];
static struct model {
	unsigned char bytes[MOST];
	size_t size;
} model[FILES];

static const char *path_of(const char *kind, unsigned n)
{
	static char path[100];

	snprintf(path, sizeof(path), "%s/%s%u", directory, kind, n);
	return path;
}

static void put_file(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* `count` bytes of the data go to a random place; what is skipped reads as zero. */
static void step_write(FILE *script, unsigned n)
{
	unsigned block = 1 + (unsigned)random() % 9000, skip = (unsigned)random() % (DATA / block),
		 seek = (unsigned)random() % (MOST / 4 / block);
	size_t end = (size_t)(seek + 1) * block;

	fprintf(script,
		"dd if=data of=f%u bs=%u count=1 skip=%u seek=%u conv=notrunc 2>/dev/null\n", n,
		block, skip, seek);
	memcpy(model[n].bytes + (size_t)seek * block, data + (size_t)skip * block, block);
	if (end > model[n].size)
		model[n].size = end;
}

static void step_truncate(FILE *script, unsigned n)
{
	size_t size = (size_t)random() % (MOST / 2);

	fprintf(script, "truncate -s %zu f%u\n", size, n);
	if (size < model[n].size)
		memset(model[n].bytes + size, 0, model[n].size - size);
	model[n].size = size;
}

static void step_exchange(FILE *script, unsigned n, unsigned m)
{
	static struct model other;

	fprintf(script, "mv f%u t; mv f%u f%u; mv t f%u\n", n, m, n, m);
	other = model[n];
	model[n] = model[m];
	model[m] = other;
}

/* A new file of the name: another one's bytes, if they are not too many, and the data. */
static void step_replace(FILE *script, unsigned n, unsigned m)
{
	bool copied = model[m].size + DATA <= MOST;

	fprintf(script, "rm f%u; cat %s data >t; mv t f%u\n", n,
		!copied  ? ""
		: m == 0 ? "f0"
		: m == 1 ? "f1"
			 : "f2",
		n);
	if (copied)
		model[n] = model[m];
	else
		memset(&model[n], 0, sizeof(model[n]));
	memcpy(model[n].bytes + model[n].size, data, DATA);
	model[n].size += DATA;
}

static void step(FILE *script)
{
	unsigned n = (unsigned)random() % FILES, m = (n + 1) % FILES;

	switch (random() % 8) {
	case 0: step_truncate(script, n); break;
	case 1: step_exchange(script, n, m); break;
	case 2: step_replace(script, n, m); break;
	default: step_write(script, n); break;
	}
}

static void compare(unsigned n)
{
	static unsigned char seen[MOST + 1];
	FILE *f = fopen(path_of("f", n), "rb");

	assert_non_null(f);
	assert_int_equal(fread(seen, 1, sizeof(seen), f), model[n].size);
	assert_memory_equal(seen, model[n].bytes, model[n].size);
	fclose(f);
}

static void one_round(struct session *s)
{
	FILE *script = fopen(path_of("script", 0), "w");

	assert_non_null(script);
	for (unsigned i = 0; i < STEPS; i++)
		step(script);
	fclose(script);
	session_type(s, "sh script0 && echo do''ne\r");
	session_expect(s, "done\r", GUEST_SECONDS);
	for (unsigned n = 0; n < FILES; n++) {
		compare(n);
		data[n]++; /* the host writes a little, too */
		memcpy(model[n].bytes, data, 10);
		if (model[n].size < 10)
			model[n].size = 10;
		put_file(path_of("f", n), model[n].bytes, model[n].size);
		put_file(path_of("w", n), model[n].bytes, model[n].size);
	}
	put_file(path_of("data", 0), data, DATA);
	session_type(s, "mv data0 data; cmp f0 w0 && cmp f1 w1 && cmp f2 w2 && echo sa''me\r");
	session_expect(s, "same\r", GUEST_SECONDS);
}

static void test_random_operations(void **state)
{
	struct session s;
	char command[100];

	(void)state;
	srandom(1);
	for (unsigned i = 0; i < DATA; i++)
		data[i] = (unsigned char)random();
	put_file(path_of("data", 0), data, DATA);
	guest_boot(&s, GUEST_WORDS("--share", words));
	session_type(&s,
		     "mkdir /s; mount -t 9p -o trans=virtio,version=9p2000.L tag /s && cd /s && "
		     "mv data0 data && touch f0 f1 f2 && echo mou''nted\r");
	session_expect(&s, "mounted\r", GUEST_SECONDS);
	for (unsigned i = 0; i < ROUNDS; i++)
		one_round(&s);
	/* The directory goes: the user is told, the guest gets errors, and lives. */
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	assert_int_equal(system(command), 0);
	session_type(&s, "cat /s/f0 || echo go''ne; touch /s/new || echo ref''used\r");
	session_expect(&s, "the directory was removed", GUEST_SECONDS);
	session_expect(&s, "gone\r", GUEST_SECONDS);
	session_expect(&s, "refused\r", GUEST_SECONDS);
	guest_poweroff(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_operations) };

	guest_kernel = "stock/vmlinuz";
	guest_initrd = "stock/initramfs.gz";
	if (!mkdtemp(directory))
		return 1;
	snprintf(words, sizeof(words), "%s:tag", directory);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
