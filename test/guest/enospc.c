/*
 * enospc.c - Debian's kernel writes to a disk whose file system on the host is full: the machine
 * stands still and says why, looks when it is asked to, goes on when there is room, and nothing is
 * lost; with --on-enospc report the guest gets the error.
 *
 * Needs a file system of its own: a small tmpfs in a name space of its own.
 *
 * SPDX-License-Identifier: MIT
 */
#include <sys/mount.h>

#include "test/guest/guest.h"
#include "test/guest/namespace.h"

#define DISK_BYTES (32u << 20)
#define TEXT_BYTES (6u << 20) /* what the guest writes: more than there is room for */

static char dir[] = "/tmp/trapeze-enospc-XXXXXX", disk[100], ballast[100];

static bool mount_small(void)
{
	return namespace_enter(CLONE_NEWNS) &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", dir, "tmpfs", 0, "size=8m") == 0;
}

static void make_files(void)
{
	static const uint8_t some[5 << 20];
	int fd = open(disk, O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
	close(fd);
	fd = open(ballast, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, some, sizeof(some)), sizeof(some));
	close(fd);
}

/* Starts the guest and has it write, with a program beside it that never rests. */
static void start(struct session *s, const char *word, const char *value)
{
	char words[120];

	snprintf(words, sizeof(words), "%s,format=raw", disk);
	make_files();
	guest_boot(s, GUEST_WORDS("--disk", words, word, value));
	session_type(s, "yes 'a line that the guest wrote' | head -c 6291456 >/tmp/text\r");
	session_expect(s, GUEST_PROMPT, GUEST_SECONDS);
	session_type(s, "echo 1 >/proc/sys/kernel/watchdog_thresh\r");
	session_type(s, "while :; do :; done & ");
	session_type(s, "dd if=/tmp/text of=/dev/vda bs=64k conv=fsync; echo status $?.\r");
}

static double used_in_a_second(struct session *s)
{
	double before = session_cpu_seconds(s), end = session_now() + 1;

	while (session_now() < end)
		session_read(s, 100);
	return session_cpu_seconds(s) - before;
}

static void check_disk(void)
{
	static const char line[] = "a line that the guest wrote\n";
	static char text[TEXT_BYTES];
	int fd = open(disk, O_RDONLY);

	assert_int_equal(read(fd, text, sizeof(text)), sizeof(text));
	close(fd);
	for (size_t i = 0; i < sizeof(text); i++)
		assert_int_equal(text[i], line[i % (sizeof(line) - 1)]);
}

static void paused(const char *word)
{
	struct session s;

	start(&s, word, NULL);
	session_expect(&s, "the guest is paused", GUEST_SECONDS);
	assert_true(used_in_a_second(&s) < 0.3);
	session_type(&s, "\001c");
	session_expect(&s, "there is still no room", GUEST_SECONDS);
	for (unsigned i = 0; i < 4; i++)
		assert_true(used_in_a_second(&s) < 0.3);
	unlink(ballast);
	kill(s.pid, SIGCONT);
	session_expect(&s, "there is room again", GUEST_SECONDS);
	session_expect(&s, "status 0.", GUEST_SECONDS);
	assert_true(used_in_a_second(&s) > 0.0);
	/* The guest knows that it stood still, and does not take it for a CPU that is stuck. */
	session_type(&s, "echo stuck $(dmesg | grep -c -E 'soft lockup|stall').\r");
	session_expect(&s, "stuck 0.", GUEST_SECONDS);
	guest_poweroff(&s);
	check_disk();
}

static void test_pause(void **state)
{
	(void)state;
	paused(NULL);
}

static void test_pause_counted(void **state)
{
	(void)state;
	session_need_counting();
	paused("--counted");
}

/* Who does not want to wait for room ends the machine. */
static void test_end_while_paused(void **state)
{
	struct session s;

	(void)state;
	start(&s, NULL, NULL);
	session_expect(&s, "the guest is paused", GUEST_SECONDS);
	session_type(&s, "\001x");
	session_expect(&s, "ended by Ctrl-A x", GUEST_SECONDS);
	session_end(&s, GUEST_SECONDS);
	session_check_terminal(&s);
	session_close(&s);
}

static void test_report(void **state)
{
	struct session s;

	(void)state;
	start(&s, "--on-enospc", "report");
	session_expect(&s, "status 1.", GUEST_SECONDS);
	assert_null(memmem(s.text, s.bytes, "is paused", 9));
	guest_poweroff(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_pause_counted),
		cmocka_unit_test(test_end_while_paused),
		cmocka_unit_test(test_report),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	snprintf(disk, sizeof(disk), "%s/disk.img", dir);
	snprintf(ballast, sizeof(ballast), "%s/ballast", dir);
	if (!mount_small()) {
		rmdir(dir);
		printf("skip - enospc: this host gives no file system of its own\n");
		return 77;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return failed;
}
