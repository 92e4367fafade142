/*
 * litmus.c - the bare guests of several CPUs at length, on each software engine, or on KVM: a
 * million rounds of each litmus test, and nothing that x86-TSO forbids; a million of each locked
 * instruction; code, page tables and hypercalls.
 *
 * An outcome that TSO allows must have been seen, or the tests would prove nothing: store
 * buffering, on two vCPUs, which therefore have a processor each. Where the host has but one, as in
 * test/rig/nested, two vCPUs are never in each other's stores: there it is a test of being
 * interrupted between any two instructions, and of the services, not of memory's order.
 * SMP_ROUNDS: instead of a million.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>

#include "test/guest/session.h"
#include "test/processors.h"

#define SECONDS 1800

static const char *rounds = "1000000";

/* Thread `tid` of a machine: vCPU 0's has the program's name, the others' say so. */
static void give_processor(pid_t tid, const char *name)
{
	unsigned index = 0;

	if (sscanf(name, "vcpu %u", &index) == 1 || strncmp(name, "trapeze", 7) == 0)
		processors_give(tid, index);
}

static void give_processors(const struct session *s)
{
	char path[400], name[32];
	struct dirent *d;
	DIR *tasks;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)s->pid);
	tasks = opendir(path);
	assert_non_null(tasks);
	while ((d = readdir(tasks))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)s->pid, d->d_name);
		f = d->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f))
			give_processor(atoi(d->d_name), name);
		fclose(f);
	}
	closedir(tasks);
}

static void start(struct session *s, const char *engine, const char *cpus, const char *guest)
{
	char image[4200], append[64];

	snprintf(image, sizeof(image), "%s/../bare/%s", session_need("GUEST"), guest);
	/* kvm=1: where a locked access to memory and a device is two. */
	snprintf(append, sizeof(append), "cpus=%s rounds=%s%s", cpus, rounds,
		 strcmp(engine, "kvm") == 0 ? " kvm=1" : "");
	session_start(s, (char *[]){ (char *)session_need("TRAPEZE"), "run", "--engine",
				     (char *)engine, "--cpus", (char *)cpus, "--kernel", image,
				     "--memory", "64M", "--append", append, "--debug-exit",
				     "--no-reboot", NULL });
	session_expect(s, "ok - all CPUs start", 60);
	give_processors(s);
}

static void end(struct session *s)
{
	int status;

	session_expect(s, "\ndone", SECONDS);
	assert_null(memmem(s->text, s->bytes, "not ok", 6));
	status = session_end(s, 60);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1); /* 0 by debug-exit */
	session_close(s);
}

static void order(const char *engine, const char *cpus, bool apart)
{
	unsigned long seen = 0;
	struct session s;

	start(&s, engine, cpus, "smp_order");
	session_expect(&s, "seen - store buffering: ", SECONDS);
	session_expect(&s, "ok - store buffering, MFENCE", SECONDS);
	sscanf(strstr(s.text, "seen - store buffering: "), "seen - store buffering: %lu", &seen);
	print_message("%s, %s CPUs: %lu of %s stores were seen late\n", engine, cpus, seen, rounds);
	if (apart && sysconf(_SC_NPROCESSORS_ONLN) >= 2)
		assert_true(seen > 0);
	end(&s);
}

static void other(const char *engine, const char *cpus, const char *guest)
{
	struct session s;

	start(&s, engine, cpus, guest);
	end(&s);
}

static void test_kvm(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		order("kvm", i ? "4" : "2", i == 0);
		other("kvm", i ? "4" : "2", "smp_memory");
		other("kvm", i ? "4" : "2", "smp_services");
	}
}

static void test_order_bt(void **state)
{
	(void)state;
	order("bt", "2", true);
	order("bt", "4", false);
}

static void test_order_interp(void **state)
{
	(void)state;
	order("interp", "2", true);
	order("interp", "4", false);
}

static void test_memory(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		other(i & 1 ? "interp" : "bt", i & 2 ? "4" : "2", "smp_memory");
}

static void test_services(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		other(i & 1 ? "interp" : "bt", i & 2 ? "4" : "2", "smp_services");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_bt),
		cmocka_unit_test(test_order_interp),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_services),
	};
	static const struct CMUnitTest tests_kvm[] = { cmocka_unit_test(test_kvm) };

	if (getenv("SMP_ROUNDS"))
		rounds = getenv("SMP_ROUNDS");
	if (strcmp(session_engine, "kvm") == 0)
		return cmocka_run_group_tests(tests_kvm, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
