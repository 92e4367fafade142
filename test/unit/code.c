/*
 * code.c - tests of executable memory and of faults inside it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/host.h"
#include "test/cmocka.h"

/* landing: mov eax, 7; ret. Then: mov eax, 1; ret. ud2. xor ecx, ecx; div ecx. */
static const uint8_t text[] = { 0xb8, 7, 0,    0,    0,    0xc3, 0x90, 0x90, 0xb8, 1,    0,
				0,    0, 0xc3, 0x90, 0x90, 0x0f, 0x0b, 0x31, 0xc9, 0xf7, 0xf1 };

static int call(const struct host_code *code, unsigned at)
{
	union {
		const uint8_t *code;
		int (*run)(void);
	} exec = { code->exec_at + at };

	return exec.run();
}

static void open_code(struct host_code *code)
{
	struct fail why;

	assert_int_equal(host_code_open(code, sizeof(text), 0, &why), 0);
	memcpy(code->write_at, text, sizeof(text));
}

static void test_written_here_runs_there(void **state)
{
	struct host_code code;

	(void)state;
	open_code(&code);
	assert_int_equal(code.bytes, 4096);
	assert_ptr_not_equal(code.write_at, code.exec_at);
	assert_int_equal(call(&code, 8), 1);
	host_code_close(&code);
	assert_null(code.write_at);
	host_code_close(&code); /* harmless */
}

/* What Linux says of the mapping that holds `at`: "r-xs". */
static void protection(const void *at, char rights[5])
{
	FILE *f = fopen("/proc/self/maps", "r");
	uintptr_t from, to;
	char line[4096];

	assert_non_null(f);
	strcpy(rights, "none");
	while (fgets(line, sizeof(line), f)) {
		char here[5];

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, here) == 3 &&
		    (uintptr_t)at - from < to - from)
			strcpy(rights, here);
	}
	fclose(f);
}

static void test_never_writable_where_it_runs(void **state)
{
	struct host_code code, again;
	struct fail why;
	char rights[5];

	(void)state;
	assert_int_equal(host_code_open(&code, 4096, 4096, &why), 0);
	assert_int_equal(host_code_again(&again, &code, &why), 0);
	protection(code.write_at, rights);
	assert_string_equal(rights, "rw-s");
	protection(code.exec_at, rights);
	assert_string_equal(rights, "r-xs");
	protection(again.exec_at, rights);
	assert_string_equal(rights, "r-xs");
	protection(code.data, rights);
	assert_string_equal(rights, "rw-p");
	host_code_close(&again);
	host_code_close(&code);
}

/* The same code twice, each with the data before it. */
static void test_once_more(void **state)
{
	static const uint8_t load[] = {
		0x8b, 0x05, 0xf6, 0xff, 0xff, 0xff, 0xc3
	}; /* [begin - 4] */
	struct host_code code[2];
	struct fail why;

	(void)state;
	assert_int_equal(host_code_open(&code[0], 4096, 4096, &why), 0);
	assert_int_equal(host_code_again(&code[1], &code[0], &why), 0);
	assert_ptr_equal(code[1].write_at, code[0].write_at);
	memcpy(code[0].write_at, load, sizeof(load));
	for (int n = 0; n < 2; n++)
		memcpy(code[n].data + 4092, &(int){ n + 5 }, 4);
	assert_int_equal(call(&code[0], 0), 5);
	assert_int_equal(call(&code[1], 0), 6);
	host_code_close(&code[1]);
	assert_int_equal(call(&code[0], 0), 5);
	code[0].write_at[0] = 0x90; /* still there */
	host_code_close(&code[0]);
}

/* Not under TSan: see host/linux/code.c. */
#define AREAS true
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef AREAS
#define AREAS false
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#undef AREAS
#define AREAS false
#endif

/* Areas are taken in a row that is the same in every process, and again once they are free. */
static void test_lies_where_it_always_lies(void **state)
{
	struct host_code first, second, third;
	const uint8_t *was;

	(void)state;
	open_code(&first);
	open_code(&second);
	if (AREAS) {
		assert_ptr_equal(first.data, (void *)UINT64_C(0x200000000000));
		assert_ptr_equal(second.data, first.data + (UINT64_C(4) << 30));
	}
	was = first.exec_at;
	host_code_close(&first);
	open_code(&third);
	if (AREAS)
		assert_ptr_equal(third.exec_at, was);
	assert_int_equal(call(&third, 8), 1);
	assert_int_equal(call(&second, 8), 1);
	host_code_close(&second);
	host_code_close(&third);
}

static void test_faults_land(void **state)
{
	struct host_code code, other;
	struct fail why;

	(void)state;
	open_code(&code);
	open_code(&other);
	assert_int_equal(host_code_catch(&other, other.exec_at + 8, &why), 0);
	assert_int_equal(host_code_catch(&code, code.exec_at, &why), 0);
	assert_int_equal(host_code_caught(), 0);
	assert_int_equal(call(&code, 16), 7);
	assert_int_equal(host_code_caught(), SIGILL);
	assert_int_equal(host_code_caught(), 0);
	assert_int_equal(call(&code, 18), 7);
	assert_int_equal(host_code_caught(), SIGFPE);
	assert_int_equal(call(&other, 16), 1);
	host_code_close(&code);
	host_code_close(&other);
}

static void in_child(const struct host_code *code, struct host_code *closed)
{
	signal(SIGILL, SIG_DFL);
	if (closed != NULL) {
		struct fail why;

		(void)host_code_catch(closed, closed->exec_at, &why);
		host_code_close(closed);
	}
	(void)call(code, 16);
	_exit(0);
}

/* A fault elsewhere ends the process as it would have without us. */
static void test_other_faults_do_not(void **state)
{
	struct host_code code, closed;
	int status;
	pid_t child;

	(void)state;
	open_code(&code);
	open_code(&closed);
	child = fork();
	if (child == 0)
		in_child(&code, &closed);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGILL);
	host_code_close(&code);
	host_code_close(&closed);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written_here_runs_there),
		cmocka_unit_test(test_never_writable_where_it_runs),
		cmocka_unit_test(test_once_more),
		cmocka_unit_test(test_lies_where_it_always_lies),
		cmocka_unit_test(test_faults_land),
		cmocka_unit_test(test_other_faults_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
