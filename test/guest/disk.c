/*
 * disk.c - Debian's kernel with virtio disks: what it reads is what the host wrote, what it
 * writes is what the host reads; and with --counted, twice the same to the bit.
 *
 * The guest's work is a shell script in the first 64 KiB of its first disk (tools/guest/init).
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/counted.h"

#define SCRIPT_BYTES 65536
#define DISK_BYTES   (8u << 20)

/* Reads everything, writes a megabyte at 4 MiB in two ways, trims one at 6 MiB. */
static const char script[] =
	"echo serial $(cat /sys/block/vda/serial)\n"
	"echo size $(cat /sys/block/vda/size)\n"
	"echo before $(md5sum </dev/vda)\n"
	"i=0; while [ $i -lt 4096 ]; do echo line $i of the guest; i=$((i + 1)); done >/tmp/text\n"
	"dd if=/tmp/text of=/dev/vda bs=64k seek=64 conv=fsync,notrunc 2>/dev/null\n"
	"dd if=/tmp/text of=/dev/vda bs=4k seek=1280 count=8 oflag=direct 2>/dev/null\n"
	"blkdiscard -o 6291456 -l 1048576 /dev/vda && echo trimmed\n"
	"sync; echo 3 >/proc/sys/vm/drop_caches\n"
	"echo after $(md5sum </dev/vda)\n"
	"grep -c virtio /proc/interrupts\n"
	"(echo x | dd of=/dev/vdb bs=2 count=1) 2>&1 | grep -o -m 1 'Operation not permitted'\n"
	"echo second $(dd if=/dev/vdb bs=64k 2>/dev/null | md5sum)\n";

static uint8_t *image; /* what the disk holds at first */

static void make_image(void)
{
	uint32_t x = 1;

	image = calloc(1, DISK_BYTES);
	assert_non_null(image);
	memcpy(image, script, sizeof(script) - 1);
	for (size_t i = SCRIPT_BYTES; i < DISK_BYTES; i++) {
		x = x * 1664525 + 1013904223;
		image[i] = (uint8_t)(x >> 24);
	}
}

static char *path_of(const char *name)
{
	static char path[16][200];
	static unsigned next;
	char *p = path[next++ % 16];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void write_file(const char *name, const void *bytes, size_t count)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, count), count);
	close(fd);
}

static char *read_file(const char *name, size_t *bytes)
{
	return read_all(path_of(name), bytes);
}

/* "word SUM" of the guest's output is the sum of the host's bytes. */
static void expect_sum(const char *output, const char *word, const char *file)
{
	char command[300], line[200], expected[33] = "";
	FILE *sum;

	snprintf(command, sizeof(command), "md5sum <%s", path_of(file));
	sum = popen(command, "r");
	assert_int_equal(fread(expected, 1, 32, sum), 32);
	pclose(sum);
	snprintf(line, sizeof(line), "%s %s", word, expected);
	if (!strstr(output, line))
		fprintf(stderr, "no \"%s\" in:\n%s\n", line, output);
	assert_non_null(strstr(output, line));
}

/* Fresh disks, which these words give the guest: its script, and one that is read-only. */
static const char *const *disks(const char *name)
{
	static char disk[300], second[300], file[100];
	static const char *const words[] = { "--disk", disk, "--disk", second, NULL };

	snprintf(file, sizeof(file), "%s.img", name);
	write_file(file, image, DISK_BYTES);
	write_file("second.img", image + SCRIPT_BYTES, SCRIPT_BYTES);
	snprintf(disk, sizeof(disk), "%s,format=raw,serial=first", path_of(file));
	snprintf(second, sizeof(second), "%s,format=raw,readonly", path_of("second.img"));
	return words;
}

/* Runs the image's script; name.out is the console, name.img the disk. */
static void run_script(const char *name, const char *append)
{
	char out[100];

	snprintf(out, sizeof(out), "%s.out", name);
	guest_to_file(guest_command(append, disks(name)), path_of(out));
}

static void check(const char *name)
{
	char out[100], file[100], *text, *disk;
	size_t bytes;

	snprintf(out, sizeof(out), "%s.out", name);
	snprintf(file, sizeof(file), "%s.img", name);
	text = read_file(out, NULL);
	assert_non_null(strstr(text, "serial first"));
	assert_non_null(strstr(text, "size 16384"));
	write_file("before", image, DISK_BYTES);
	expect_sum(text, "before", "before");
	expect_sum(text, "after", file);
	expect_sum(text, "second", "second.img");
	assert_non_null(strstr(text, "Operation not permitted"));
	assert_non_null(strstr(text, "trimmed"));
	disk = read_file(file, &bytes);
	assert_int_equal(bytes, DISK_BYTES);
	assert_memory_equal(disk, image, 4 << 20);
	assert_memory_equal(disk + (4 << 20), "line 0 of the guest\nline 1", 26);
	assert_memory_equal(disk + (5 << 20), "line 0 of the guest\nline 1", 26);
	assert_memory_equal(disk + (7 << 20), image + (7 << 20), 1 << 20);
	free(disk);
	free(text);
}

static void test_disk(void **state)
{
	(void)state;
	run_script("plain", "console=ttyS0 quiet trapeze.script");
	check("plain");
}

/* What was written before a reboot is there after it, and the disk works again. */
static void test_reboot(void **state)
{
	static const char twice[] =
		"if [ \"$(dd if=/dev/vda bs=64k skip=9 count=1 2>/dev/null | head -n 1)\" "
		"= again ]; then echo it is there; exit; fi\n"
		"echo again | dd of=/dev/vda bs=64k seek=9 conv=fsync,notrunc\n"
		"dd if=/dev/vda of=/dev/null bs=64k &\n"
		"reboot -f\n";
	char *text;

	(void)state;
	memset(image, 0, SCRIPT_BYTES);
	memcpy(image, twice, sizeof(twice) - 1);
	run_script("reboot", "console=ttyS0 quiet trapeze.script");
	text = read_file("reboot.out", NULL);
	assert_non_null(strstr(text, "reboot: Restarting system"));
	assert_non_null(strstr(text, "it is there"));
	free(text);
}

/* By its pin instead of messages, through the 8259s, without what ACPI says of the bus. */
static void test_disk_on_old_interrupts(void **state)
{
	(void)state;
	run_script("pins", "console=ttyS0 quiet trapeze.script pci=nomsi noapic");
	check("pins");
}

static void assert_same_file(const char *a, const char *b)
{
	size_t bytes, others;
	char *x = read_file(a, &bytes), *y = read_file(b, &others);

	assert_int_equal(bytes, others);
	assert_memory_equal(x, y, bytes);
	free(x);
	free(y);
}

static void test_counted_repeats(void **state)
{
	static const char *const names[] = { "one", "two" };
	struct run r[2];

	(void)state;
	session_need_counting();
	for (unsigned i = 0; i < 2; i++) {
		pid_t burner = i ? fork() : -1;

		if (burner == 0)
			for (volatile unsigned n = 0;; n++)
				;
		run(&r[i], names[i], "auto", "console=ttyS0 quiet trapeze.script", disks(names[i]));
		if (burner > 0) {
			kill(burner, SIGKILL);
			waitpid(burner, NULL, 0);
		}
		check(names[i]);
	}
	assert_string_equal(r[0].text, r[1].text);
	assert_same_file("one.img", "two.img");
	assert_same(&r[0], &r[1], "instructions");
	assert_same(&r[0], &r[1], "state_hash");
	assert_same(&r[0], &r[1], "guest_seconds");
	run_free(&r[0]);
	run_free(&r[1]);
}

/* Somebody is at the keyboard: the entropy device, and a disk that is written while others look. */
static void test_entropy(void **state)
{
	struct session s;

	(void)state;
	write_file("entropy.img", image, DISK_BYTES);
	guest_boot(&s, GUEST_WORDS("--disk", path_of("entropy.img")));
	session_type(
		&s,
		"insmod /lib/modules/virtio-rng.ko; cat /sys/class/misc/hw_random/rng_current\r");
	session_expect(&s, "virtio_rng.0", GUEST_SECONDS);
	session_type(&s, "dd if=/dev/hwrng bs=1000 count=9 2>/dev/null | wc -c\r");
	session_expect(&s, "9000", GUEST_SECONDS);
	guest_poweroff(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk),
		cmocka_unit_test(test_disk_on_old_interrupts),
		cmocka_unit_test(test_counted_repeats),
		cmocka_unit_test(test_entropy),
		cmocka_unit_test(test_reboot),
	};

	if (!mkdtemp(dir))
		return 1;
	make_image();
	return cmocka_run_group_tests(tests, NULL, remove_dir);
}
