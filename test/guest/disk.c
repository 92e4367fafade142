/*
 * disk.c - Debian's kernel with virtio disks: what it reads is what the host wrote, what it
 * writes is what the host reads; and with --counted, twice the same to the bit.
 *
 * The guest's work is a shell script in the first 64 KiB of its first disk (tools/guest/init).
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "test/guest/session.h"

#define SCRIPT_BYTES 65536
#define DISK_BYTES   (8u << 20)
#define SECONDS      300 /* a sanitizer build on a busy machine; a release build takes seconds */

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

static char dir[] = "/tmp/trapeze-disk.XXXXXX";

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
	struct stat st;
	char *text;
	int fd = open(path_of(name), O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	close(fd);
	if (bytes)
		*bytes = (size_t)st.st_size;
	return text;
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

/* Runs the image's script on a fresh disk; name.out is the console, name.img the disk. */
static void run(const char *name, const char *append, const char *extra[])
{
	char kernel[4200], initrd[4200], disk[200], second[200], out[100], file[100];
	const char *argv[32] = { session_need("TRAPEZE"),
				 "run",
				 "--kernel",
				 kernel,
				 "--initrd",
				 initrd,
				 "--append",
				 append,
				 "--disk",
				 disk,
				 "--disk",
				 second };
	unsigned n = 12;
	int status;
	pid_t pid;

	snprintf(file, sizeof(file), "%s.img", name);
	write_file(file, image, DISK_BYTES);
	write_file("second.img", image + SCRIPT_BYTES, SCRIPT_BYTES);
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
	snprintf(disk, sizeof(disk), "%s,format=raw,serial=first", path_of(file));
	snprintf(second, sizeof(second), "%s,format=raw,readonly", path_of("second.img"));
	snprintf(out, sizeof(out), "%s.out", name);
	for (unsigned i = 0; extra && extra[i]; i++)
		argv[n++] = extra[i];
	pid = fork();
	if (pid == 0) {
		int to = open(path_of(out), O_WRONLY | O_CREAT | O_TRUNC, 0600);
		int in = open("/dev/null", O_RDONLY);

		dup2(to, 1);
		dup2(in, 0);
		execv(argv[0], (char **)argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
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
	run("plain", "console=ttyS0 quiet trapeze.script", NULL);
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
	run("reboot", "console=ttyS0 quiet trapeze.script", NULL);
	text = read_file("reboot.out", NULL);
	assert_non_null(strstr(text, "reboot: Restarting system"));
	assert_non_null(strstr(text, "it is there"));
	free(text);
}

/* By its pin instead of messages, through the 8259s, without what ACPI says of the bus. */
static void test_disk_on_old_interrupts(void **state)
{
	(void)state;
	run("pins", "console=ttyS0 quiet trapeze.script pci=nomsi noapic", NULL);
	check("pins");
}

/* The value after "name": as text. */
static char *member(const char *json, const char *name)
{
	char key[64], *at;

	snprintf(key, sizeof(key), "\"%s\": ", name);
	at = strstr(json, key);
	assert_non_null(at);
	at += strlen(key);
	return strndup(at, strcspn(at, ",\n"));
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
	static const char *const names[] = { "instructions", "state_hash", "guest_seconds" };
	char *json[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? "two" : "one", *stats = i ? "two.json" : "one.json";
		const char *extra[] = { "--counted", "--stats", path_of(stats), NULL };
		pid_t burner = i ? fork() : -1;

		if (burner == 0)
			for (volatile unsigned n = 0;; n++)
				;
		run(name, "console=ttyS0 quiet trapeze.script", extra);
		if (burner > 0) {
			kill(burner, SIGKILL);
			waitpid(burner, NULL, 0);
		}
		check(name);
		json[i] = read_file(stats, NULL);
	}
	assert_same_file("one.out", "two.out");
	assert_same_file("one.img", "two.img");
	for (unsigned i = 0; i < 3; i++) {
		char *x = member(json[0], names[i]), *y = member(json[1], names[i]);

		assert_string_equal(x, y);
		free(x);
		free(y);
	}
	free(json[0]);
	free(json[1]);
}

/* Somebody is at the keyboard: the entropy device, and a disk that is written while others look. */
static void test_entropy(void **state)
{
	char kernel[4200], initrd[4200];
	char *argv[] = { (char *)session_need("TRAPEZE"),
			 "run",
			 "--kernel",
			 kernel,
			 "--initrd",
			 initrd,
			 "--append",
			 "console=ttyS0 quiet",
			 "--disk",
			 NULL,
			 NULL };
	struct session s;

	(void)state;
	write_file("entropy.img", image, DISK_BYTES);
	argv[9] = path_of("entropy.img");
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
	session_start(&s, argv);
	session_expect(&s, "/root # ", SECONDS);
	session_type(
		&s,
		"insmod /lib/modules/virtio-rng.ko; cat /sys/class/misc/hw_random/rng_current\r");
	session_expect(&s, "virtio_rng.0", SECONDS);
	session_type(&s, "dd if=/dev/hwrng bs=1000 count=9 2>/dev/null | wc -c\r");
	session_expect(&s, "9000", SECONDS);
	session_type(&s, "poweroff -f\r");
	assert_int_equal(session_end(&s, SECONDS), 0);
	session_close(&s);
}

static int remove_dir(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
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
