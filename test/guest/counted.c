/*
 * counted.c - a counted boot repeats to the bit, whatever the host does meanwhile and whatever
 * executes it.
 *
 * Two runs of the same command, the second beside a process that burns the CPU and with
 * another input descriptor, must agree in instructions, console bytes and state hash.
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "test/guest/session.h"

static char dir[] = "/tmp/trapeze-counted.XXXXXX";

struct run {
	char out[4200], stats[4200];
	char *text, *json;
};

static char *read_all(const char *path)
{
	struct stat st;
	char *text;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	close(fd);
	return text;
}

static void run(struct run *r, const char *name, const char *engine, char *const extra[])
{
	char kernel[4200], initrd[4200];
	char *argv[32] = { (char *)session_need("TRAPEZE"),
			   "run",
			   "--counted",
			   "--engine",
			   (char *)engine,
			   "--kernel",
			   kernel,
			   "--initrd",
			   initrd,
			   "--stats",
			   r->stats };
	unsigned n = 11;
	int status;
	pid_t pid;

	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", session_need("GUEST"));
	snprintf(initrd, sizeof(initrd), "%s/initramfs.gz", session_need("GUEST"));
	snprintf(r->out, sizeof(r->out), "%s/%s.out", dir, name);
	snprintf(r->stats, sizeof(r->stats), "%s/%s.json", dir, name);
	for (unsigned i = 0; extra[i]; i++)
		argv[n++] = extra[i];
	argv[n] = NULL;
	pid = fork();
	if (pid == 0) {
		int out = open(r->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		int in = open("/dev/null", O_RDONLY);

		dup2(out, 1);
		dup2(in, 0);
		execv(argv[0], argv);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	r->text = read_all(r->out);
	r->json = read_all(r->stats);
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

static void assert_same(const struct run *a, const struct run *b, const char *name)
{
	char *x = member(a->json, name), *y = member(b->json, name);

	assert_string_equal(x, y);
	free(x);
	free(y);
}

static pid_t burn(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (volatile unsigned n = 0;; n++)
			;
	}
	return pid;
}

static void compare(const char *first, const char *second, char *const extra[], const char *expect)
{
	struct run a, b;
	pid_t burner;

	run(&a, "a", first, extra);
	burner = burn();
	run(&b, "b", second, extra);
	kill(burner, SIGKILL);
	waitpid(burner, NULL, 0);
	assert_string_equal(a.text, b.text);
	if (expect)
		assert_non_null(strstr(a.text, expect));
	assert_same(&a, &b, "instructions");
	assert_same(&a, &b, "state_hash");
	assert_same(&a, &b, "guest_seconds");
	free(a.text);
	free(a.json);
	free(b.text);
	free(b.json);
}

static void test_whole_boot_repeats(void **state)
{
	char *extra[] = { "--append", "console=ttyS0 trapeze.intro", NULL };

	(void)state;
	compare("interp", "bt", extra, "Hypervisor: yes");
}

static void test_stop_in_the_middle_repeats(void **state)
{
	char *extra[] = { "--append", "console=ttyS0", "--stop-at", "400000007", NULL };

	(void)state;
	compare("bt", "bt", extra, NULL);
}

/* How often the loop looks around must not show in the guest. */
static void test_slice_does_not_matter(void **state)
{
	char *one[] = { "--append", "console=ttyS0", "--stop-at", "300000000", NULL };
	char *two[] = { "--append", "console=ttyS0", "--stop-at", "300000000",
			"--slice",  "777",           NULL };
	struct run a, b;

	(void)state;
	run(&a, "a", "interp", one);
	run(&b, "b", "bt", two);
	assert_same(&a, &b, "instructions");
	assert_same(&a, &b, "state_hash");
	assert_string_equal(a.text, b.text);
	free(a.text);
	free(a.json);
	free(b.text);
	free(b.json);
}

/* Nor which engine executes what, nor when that changes. */
static void test_changing_engines_does_not_matter(void **state)
{
	char *one[] = { "--append", "console=ttyS0", "--stop-at", "300000000", NULL };
	char *two[] = { "--append",  "console=ttyS0",
			"--stop-at", "300000000",
			"--switch",  "bt@1000003,interp@20ms,bt@50000000,interp@299999999",
			NULL };
	struct run a, b;
	char *switches;

	(void)state;
	run(&a, "a", "bt", one);
	run(&b, "b", "interp", two);
	switches = member(b.json, "engine_switches");
	assert_string_equal(switches, "4");
	assert_same(&a, &b, "instructions");
	assert_same(&a, &b, "state_hash");
	assert_string_equal(a.text, b.text);
	free(switches);
	free(a.text);
	free(a.json);
	free(b.text);
	free(b.json);
}

/* Nor with several CPUs, which take turns. */
static void test_several_cpus_repeat(void **state)
{
	char *two[] = { "--cpus", "2", "--append", "console=ttyS0 trapeze.intro", NULL };
	char *four[] = { "--cpus",  "4",    "--append", "console=ttyS0", "--stop-at", "900000001",
			 "--slice", "7777", NULL };

	(void)state;
	compare("interp", "bt", two, ", 2 CPU");
	compare("bt", "bt", four, "Brought up 1 node, 4 CPUs");
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
		cmocka_unit_test(test_whole_boot_repeats),
		cmocka_unit_test(test_stop_in_the_middle_repeats),
		cmocka_unit_test(test_slice_does_not_matter),
		cmocka_unit_test(test_changing_engines_does_not_matter),
		cmocka_unit_test(test_several_cpus_repeat),
	};

	if (!mkdtemp(dir))
		return 1;
	return cmocka_run_group_tests(tests, NULL, remove_dir);
}
