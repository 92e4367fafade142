/*
 * api.c - include/trapeze.h, promise by promise, with small guests.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "include/trapeze.h"
#include "test/cmocka.h"

#define PAGE 4096

/* Real-mode code is put at 0x1000; the stack ends there. */
#define CODE 0x1000

struct text {
	char bytes[200];
	size_t used;
};

static void collect(void *arg, const char *text, size_t bytes)
{
	struct text *t = arg;

	assert_true(t->used + bytes <= sizeof(t->bytes));
	memcpy(t->bytes + t->used, text, bytes);
	t->used += bytes;
}

static struct trapeze *open_with(const struct trapeze_config *config, const void *code,
				 size_t bytes)
{
	struct trapeze_regs regs = { .rip = CODE, .rsp = CODE };
	struct trapeze_error error;
	struct trapeze *vm = trapeze_open(config, &error);

	assert_non_null(vm);
	assert_int_equal(trapeze_add_memory(vm, 0, 4 * PAGE, NULL, 0, &error), 0);
	assert_int_equal(trapeze_write(vm, CODE, code, bytes, &error), 0);
	assert_int_equal(trapeze_enter(vm, TRAPEZE_REAL16, &regs, &error), 0);
	return vm;
}

#define OPEN(code) open_with(&(struct trapeze_config){ .counted = 1 }, code, sizeof(code) - 1)

static struct trapeze_end run(struct trapeze *vm, uint64_t instructions)
{
	struct trapeze_error error;
	struct trapeze_end end;

	assert_int_equal(trapeze_run(vm, instructions, &end, &error), 0);
	return end;
}

static void opening(void **state)
{
	struct trapeze_error error;
	struct trapeze *vm;

	(void)state;
	assert_null(trapeze_open(&(struct trapeze_config){ .engine = "warp" }, &error));
	assert_int_equal(error.code, -ENOENT);
	assert_string_equal(error.text, "there is no engine 'warp'");
	assert_null(trapeze_open(&(struct trapeze_config){ .engine = "warp" }, NULL));
	vm = trapeze_open(&(struct trapeze_config){ .engine = "interp" }, &error);
	assert_non_null(vm);
	trapeze_close(vm);
	vm = trapeze_open(&(struct trapeze_config){ .engine = "auto" }, &error);
	assert_non_null(vm);
	trapeze_close(vm);
	trapeze_close(NULL);
	assert_non_null(strchr(trapeze_version(), '.'));
}

static void memory(void **state)
{
	static _Alignas(PAGE) unsigned char mine[2 * PAGE];
	struct trapeze_error error;
	struct trapeze *vm = trapeze_open(&(struct trapeze_config){ 0 }, &error);
	char got[8];
	void *host;

	(void)state;
	assert_int_equal(trapeze_add_memory(vm, 0, PAGE, mine, 0, &error), 0);
	assert_int_equal(trapeze_add_memory(vm, PAGE, PAGE, mine + PAGE, 1, &error), 0);
	assert_int_equal(trapeze_add_memory(vm, 0, PAGE, NULL, 0, &error), -EEXIST);
	assert_int_equal(trapeze_add_memory(vm, 8 * PAGE, 100, NULL, 0, &error), -EINVAL);
	assert_int_equal(trapeze_add_memory(vm, 8 * PAGE, PAGE, mine + 1, 0, &error), -EINVAL);
	assert_int_equal(trapeze_add_memory(vm, 0 - (uint64_t)PAGE, 2 * PAGE, NULL, 0, &error),
			 -EINVAL);
	assert_int_equal(trapeze_add_memory(vm, 8 * PAGE, UINT64_C(1) << 60, NULL, 0, &error),
			 -ENOMEM);
	/* Across two pieces, one of them read-only: the caller may. */
	assert_int_equal(trapeze_write(vm, PAGE - 4, "abcdefgh", 8, &error), 0);
	assert_memory_equal(mine + PAGE - 4, "abcdefgh", 8);
	assert_int_equal(trapeze_read(vm, PAGE - 4, got, 8, &error), 0);
	assert_memory_equal(got, "abcdefgh", 8);
	assert_int_equal(trapeze_write(vm, 2 * PAGE - 4, "ijklmnop", 8, &error), -EFAULT);
	assert_int_equal(mine[2 * PAGE - 4], 0);
	assert_int_equal(trapeze_read(vm, UINT64_MAX, got, 8, &error), -EFAULT);
	assert_int_equal(trapeze_gpa_to_host(vm, 17, 4, &host, &error), 0);
	assert_ptr_equal(host, mine + 17);
	assert_int_equal(trapeze_gpa_to_host(vm, PAGE - 1, 2, &host, &error), -EFAULT);
	assert_int_equal(trapeze_gpa_to_host(vm, 3 * PAGE, 1, &host, &error), -EFAULT);
	assert_string_equal(error.text, "guest-physical 0x3000, 1 bytes: not all of it is memory");
	trapeze_close(vm);
}

static void exact_budgets(void **state)
{
	struct trapeze *vm = OPEN("\x40\xeb\xfd"); /* inc ax; jmp back */
	struct trapeze_regs regs;
	struct trapeze_end end;

	(void)state;
	for (uint64_t n = 0, sum = 0; n < 300; n += 7) {
		end = run(vm, n);
		sum += n;
		assert_int_equal(end.reason, TRAPEZE_BUDGET);
		assert_int_equal(end.instructions, n);
		assert_int_equal(trapeze_instructions(vm), sum);
		trapeze_get_regs(vm, &regs);
		assert_int_equal(regs.rax, (sum + 1) / 2);
	}
	assert_true(trapeze_entries(vm) > 0);
	trapeze_close(vm);
}

static uint64_t exits(struct trapeze *vm, const char *name)
{
	for (unsigned r = 0; r < trapeze_exit_reasons(); r++)
		if (strcmp(trapeze_exit_name(r), name) == 0)
			return trapeze_exit_count(vm, r);
	assert_non_null(NULL); /* no such reason */
	return 0;
}

static void hypercalls(void **state)
{
	/* mov eax, PRINT; mov ebx, 0x1100; mov ecx, 5; vmcall; mov eax, EXIT; mov ebx, 77; vmmcall;
	 * then number 0 */
	static const char code[] = "\x66\xb8\x01\x00\x50\x54\x66\xbb\x00\x11\x00\x00"
				   "\x66\xb9\x05\x00\x00\x00\x0f\x01\xc1"
				   "\x66\xb8\x02\x00\x50\x54\x66\xbb\x4d\x00\x00\x00\x0f\x01\xd9"
				   "\x66\x31\xc0\x0f\x01\xc1\xf4";
	struct text text = { .used = 0 };
	struct trapeze_config config = { .counted = 1, .print = collect, .arg = &text };
	struct trapeze *vm = open_with(&config, code, sizeof(code) - 1);
	struct trapeze_regs regs;
	struct trapeze_end end;

	(void)state;
	trapeze_write(vm, 0x1100, "hello", 5, NULL);
	end = run(vm, 100);
	assert_int_equal(end.reason, TRAPEZE_EXITED);
	assert_int_equal(end.status, 77);
	assert_int_equal(end.instructions, 7);
	assert_int_equal(text.used, 5);
	assert_memory_equal(text.bytes, "hello", 5);
	/* It may go on; the next number is unknown. */
	end = run(vm, 100);
	assert_int_equal(end.reason, TRAPEZE_HALTED);
	assert_int_equal(end.status, 0);
	trapeze_get_regs(vm, &regs);
	assert_int_equal((uint32_t)regs.rax, (uint32_t)-1000);
	assert_int_equal(exits(vm, "hypercall"), 3);
	assert_int_equal(exits(vm, "hlt"), 1);
	trapeze_close(vm);
}

static void endings(void **state)
{
	struct trapeze *vm = OPEN("\xf4"); /* hlt */
	struct trapeze_end end = run(vm, 10);

	(void)state;
	assert_int_equal(end.reason, TRAPEZE_HALTED);
	assert_int_equal(end.instructions, 1);
	end = run(vm, 10);
	assert_int_equal(end.reason, TRAPEZE_HALTED);
	assert_int_equal(end.instructions, 0);
	trapeze_close(vm);

	vm = OPEN("\x31\xc9\xf7\xf1"); /* xor cx, cx; div cx: IDT limit 0 */
	end = run(vm, 10);
	assert_int_equal(end.reason, TRAPEZE_SHUTDOWN);
	assert_int_equal(end.instructions, 1);
	end = run(vm, 10);
	assert_int_equal(end.reason, TRAPEZE_SHUTDOWN);
	assert_int_equal(exits(vm, "shutdown"), 2);
	trapeze_close(vm);

	vm = OPEN("\xeb\xfe");
	trapeze_stop(vm);
	end = run(vm, 1000000);
	assert_int_equal(end.reason, TRAPEZE_STOPPED);
	assert_int_equal(run(vm, 5).reason, TRAPEZE_BUDGET);
	trapeze_close(vm);
	for (unsigned r = 0; r <= TRAPEZE_STORM; r++)
		assert_string_not_equal(trapeze_reason_name((enum trapeze_reason)r), "?");
	assert_string_equal(trapeze_reason_name((enum trapeze_reason)99), "?");
	assert_null(trapeze_exit_name(trapeze_exit_reasons()));
}

static void *stop_later(void *arg)
{
	usleep(20000);
	trapeze_stop(arg);
	return NULL;
}

static void stopped_from_another_thread(void **state)
{
	struct trapeze *vm = open_with(&(struct trapeze_config){ 0 }, "\xeb\xfe", 2);
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, stop_later, vm), 0);
	assert_int_equal(run(vm, UINT64_MAX).reason, TRAPEZE_STOPPED);
	pthread_join(thread, NULL);
	trapeze_close(vm);
}

/* A repeat is one instruction, but it gives way in the middle. */
static void stopped_in_a_repeat(void **state)
{
	/* mov ecx, -1; rep lodsb, over 4 GiB of nothing; jmp back */
	struct trapeze *vm = open_with(&(struct trapeze_config){ .counted = 1 },
				       "\xb9\xff\xff\xff\xff\xf3\xac\xeb\xf7", 9);
	struct trapeze_regs regs = { .rip = CODE };
	pthread_t thread;

	(void)state;
	assert_int_equal(trapeze_enter(vm, TRAPEZE_PROTECTED32, &regs, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, stop_later, vm), 0);
	assert_int_equal(run(vm, UINT64_MAX).reason, TRAPEZE_STOPPED);
	pthread_join(thread, NULL);
	trapeze_get_regs(vm, &regs);
	assert_int_equal(trapeze_instructions(vm), 1);
	assert_int_equal(regs.rip, CODE + 5);
	assert_in_range(regs.rcx, 1, UINT32_MAX - 1);
	trapeze_close(vm);
}

static void pc_devices(void **state)
{
	/* mov dx, 3f8; mov al, 'S'; out; mov dx, 604; mov ax, 3400; out (S5: SLP_TYP 5, SLP_EN) */
	static const char off[] = "\xba\xf8\x03\xb0S\xee\xba\x04\x06\xb8\x00\x34\xef\xeb\xfe";
	static const char reset[] = "\xba\xf9\x0c\xb0\x06\xee\xeb\xfe";
	/* a periodic timer; cli; hlt */
	static const char deaf[] = "\xb0\x34\xe6\x43\xb0\x10\xe6\x40\xb0\x00\xe6\x40\xfa\xf4";
	struct text text = { .used = 0 };
	struct trapeze_config config = { .counted = 1, .pc = 1, .serial = collect, .arg = &text };
	struct trapeze *vm = open_with(&config, off, sizeof(off) - 1);

	(void)state;
	assert_int_equal(run(vm, 100).reason, TRAPEZE_POWEROFF);
	assert_int_equal(text.used, 1);
	assert_int_equal(text.bytes[0], 'S');
	assert_int_equal(exits(vm, "pio"), 2);
	trapeze_close(vm);
	vm = open_with(&config, reset, sizeof(reset) - 1);
	assert_int_equal(run(vm, 100).reason, TRAPEZE_RESET);
	trapeze_close(vm);
	vm = open_with(&config, deaf, sizeof(deaf) - 1);
	assert_int_equal(run(vm, 100).reason, TRAPEZE_HALTED);
	trapeze_close(vm);
}

/* A card that the guest finds where it should be, and words that make no sense. */
static void network(void **state)
{
	/* PCI 16.0 is a virtio-net: prints 1; power off */
	static const char look[] =
		"\x66\xb8\x00\x80\x00\x80\xba\xf8\x0c\x66\xef\xba\xfc\x0c\x66\xed"
		"\x66\x3d\xf4\x1a\x41\x10\x0f\x94\xc0\x04\x30\xba\xf8\x03\xee"
		"\xba\x04\x06\xb8\x00\x34\xef\xeb\xfe";
	const char *user[] = { "user", NULL }, *wrong[] = { "user", "carrier-pigeon", NULL };
	struct text text = { .used = 0 };
	struct trapeze_config config = { .pc = 1, .serial = collect, .arg = &text, .net = user };
	struct trapeze *vm = open_with(&config, look, sizeof(look) - 1);
	struct trapeze_error error;

	(void)state;
	assert_int_equal(run(vm, UINT64_MAX).reason, TRAPEZE_POWEROFF);
	assert_int_equal(text.used, 1);
	assert_int_equal(text.bytes[0], '1');
	trapeze_close(vm);
	config.net = wrong;
	assert_null(trapeze_open(&config, &error));
	assert_int_equal(error.code, -EINVAL);
	assert_non_null(strstr(error.text, "carrier-pigeon"));
	config = (struct trapeze_config){ .net = user };
	assert_null(trapeze_open(&config, &error));
	assert_int_equal(error.code, -EINVAL);
}

static void modes(void **state)
{
	struct trapeze *vm = OPEN("\x90");
	struct trapeze_regs regs = { .rip = CODE, .rsp = 0x2000, .rax = 5, .r15 = 6 }, now;
	struct trapeze_error error;

	(void)state;
	assert_int_equal(trapeze_enter(vm, TRAPEZE_PROTECTED32, &regs, &error), 0);
	run(vm, 1);
	trapeze_get_regs(vm, &now);
	assert_int_equal(now.rip, CODE + 1);
	assert_int_equal(now.rax, 5);
	assert_int_equal(now.r15, 6);
	assert_int_equal(now.rflags, 2);
	assert_int_equal(now.cr0 & 0x80000001, 1);
	regs.rip = UINT64_C(1) << 32;
	assert_int_equal(trapeze_enter(vm, TRAPEZE_PROTECTED32, &regs, &error), -EINVAL);
	assert_string_equal(error.text, "CPU state: RIP does not fit outside 64-bit mode");
	regs.cr4 = UINT64_C(1) << 60;
	assert_int_equal(trapeze_set_regs(vm, &regs, &error), -EINVAL);
	now.rcx = 9;
	assert_int_equal(trapeze_set_regs(vm, &now, &error), 0);
	trapeze_get_regs(vm, &regs);
	assert_memory_equal(&regs, &now, sizeof(regs));
	trapeze_close(vm);
}

/* 64-bit code; the tables map linear 0x40000000 to 0x1000, read-only. */
static void long_mode_and_translation(void **state)
{
	struct trapeze *vm = OPEN("\x48\xff\xc0\x48\x8b\x1c\x25\x00\x00\x00\x40\xf4");
	static const uint64_t tables = 16 * PAGE;
	struct trapeze_regs regs = { .rip = UINT64_C(0x40000000), .rsp = 0x2000, .cr3 = tables };
	const uint64_t entry[] = { tables + PAGE + 3, tables + 2 * PAGE + 3, tables + 3 * PAGE + 3,
				   CODE + 1 };
	const uint64_t at[] = { tables, tables + PAGE + 8, tables + 2 * PAGE, tables + 3 * PAGE };
	struct trapeze_error error;
	uint64_t gpa, seen;

	(void)state;
	assert_int_equal(trapeze_add_memory(vm, tables, 4 * PAGE, NULL, 0, &error), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(trapeze_write(vm, at[i], &entry[i], 8, &error), 0);
	assert_int_equal(trapeze_enter(vm, TRAPEZE_LONG64, &regs, &error), 0);

	assert_int_equal(trapeze_gva_to_gpa(vm, 0x40000123, TRAPEZE_EXECUTE, &gpa, &error), 0);
	assert_int_equal(gpa, CODE + 0x123);
	for (unsigned i = 0; i < 4; i++) { /* no accessed bit was set by looking */
		trapeze_read(vm, at[i], &seen, 8, &error);
		assert_int_equal(seen, entry[i]);
	}
	/* Supervisor writes to a read-only page are allowed while CR0.WP is clear. */
	assert_int_equal(trapeze_gva_to_gpa(vm, 0x40000123, TRAPEZE_WRITE, &gpa, &error), 0);
	assert_int_equal(trapeze_gva_to_gpa(vm, 0x40001000, TRAPEZE_READ, &gpa, &error), -EFAULT);
	assert_string_equal(
		error.text,
		"linear address 0x40001000: page fault, error code 0x0 (no page is there)");
	assert_int_equal(trapeze_gva_to_gpa(vm, UINT64_C(1) << 47, TRAPEZE_READ, &gpa, &error),
			 -EFAULT);

	assert_int_equal(run(vm, 10).reason, TRAPEZE_HALTED);
	trapeze_get_regs(vm, &regs);
	assert_int_equal(regs.rax, 1);
	assert_memory_equal(&regs.rbx, "\x48\xff\xc0\x48\x8b\x1c\x25\x00", 8);
	regs.cr0 |= 0x10000; /* WP */
	assert_int_equal(trapeze_set_regs(vm, &regs, &error), 0);
	assert_int_equal(trapeze_gva_to_gpa(vm, 0x40000123, TRAPEZE_WRITE, &gpa, &error), -EFAULT);
	assert_non_null(strstr(error.text, "the access is not allowed"));
	trapeze_close(vm);
}

struct buffer {
	char *data;
	size_t bytes;
};

static int append(void *arg, const void *data, size_t bytes)
{
	struct buffer *b = arg;

	b->data = realloc(b->data, b->bytes + bytes);
	assert_non_null(b->data);
	memcpy(b->data + b->bytes, data, bytes);
	b->bytes += bytes;
	return 0;
}

static int refuse(void *arg, const void *data, size_t bytes)
{
	(void)arg;
	(void)data;
	(void)bytes;
	return -EPIPE;
}

static void saving(void **state)
{
	struct trapeze *vm = OPEN("\x40\xff\x06\x00\x20\xeb\xf9"); /* inc ax; inc [2000h]; jmp */
	struct trapeze *copy = OPEN("");
	struct buffer saved = { NULL, 0 };
	uint64_t a[2], b[2];
	struct trapeze_error error;

	(void)state;
	run(vm, 1000);
	assert_int_equal(trapeze_save(vm, append, &saved, &error), 0);
	assert_int_equal(trapeze_save(vm, refuse, NULL, &error), -EPIPE);
	run(vm, 4321);
	assert_int_equal(trapeze_load(copy, saved.data, saved.bytes, &error), 0);
	assert_int_equal(trapeze_instructions(copy), 1000);
	run(copy, 4321);
	assert_int_equal(trapeze_hash(vm, a, &error), 0);
	assert_int_equal(trapeze_hash(copy, b, &error), 0);
	assert_memory_equal(a, b, sizeof(a));
	run(copy, 1);
	assert_int_equal(trapeze_hash(copy, b, &error), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(trapeze_load(copy, saved.data, saved.bytes - 1, &error), -EINVAL);
	assert_string_equal(error.text, "the saved machine is truncated");
	free(saved.data);
	trapeze_close(vm);
	trapeze_close(copy);
}

/* Two CPUs: the first starts the other by INIT and SIPI, which prints and ends the run. */
static void test_several_cpus(void **state)
{
	/* mov ebx, 0fee00300h; mov dword [ebx], 0c4500h; mov dword [ebx], 0c4602h; hlt */
	static const char first[] = "\xbb\x00\x03\xe0\xfe\xc7\x03\x00\x45\x0c\x00"
				    "\xc7\x03\x02\x46\x0c\x00\xf4";
	/* mov eax, 54500002h; mov ebx, 77; vmcall */
	static const char second[] = "\x66\xb8\x02\x00\x50\x54\x66\xbb\x4d\x00\x00\x00\x0f\x01\xc1";
	struct trapeze_regs regs = { .rip = 0x1000, .rsp = 0x3000 };
	struct trapeze_error error;
	struct trapeze_end end;

	(void)state;
	assert_null(trapeze_open(&(struct trapeze_config){ .cpus = 2 }, &error));
	assert_null(trapeze_open(&(struct trapeze_config){ .cpus = 65, .pc = 1 }, &error));
	for (int counted = 0; counted < 2; counted++) {
		struct trapeze_config config = { .counted = counted, .pc = 1, .cpus = 2 };
		struct trapeze *vm = trapeze_open(&config, &error);

		assert_non_null(vm);
		assert_int_equal(trapeze_add_memory(vm, 0, 0x4000, NULL, 0, &error), 0);
		assert_int_equal(trapeze_write(vm, 0x1000, first, sizeof(first) - 1, &error), 0);
		assert_int_equal(trapeze_write(vm, 0x2000, second, sizeof(second) - 1, &error), 0);
		assert_int_equal(trapeze_enter(vm, TRAPEZE_PROTECTED32, &regs, &error), 0);
		assert_int_equal(trapeze_run(vm, 1000000, &end, &error), 0);
		assert_int_equal(end.reason, TRAPEZE_EXITED);
		assert_int_equal(end.status, 77);
		/* On threads the end may come between the first's SIPI and its HLT. */
		assert_in_range(trapeze_instructions(vm), counted ? 4 + 3 : 2 + 3, 4 + 3);
		trapeze_close(vm);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(opening),
		cmocka_unit_test(memory),
		cmocka_unit_test(exact_budgets),
		cmocka_unit_test(hypercalls),
		cmocka_unit_test(endings),
		cmocka_unit_test(stopped_from_another_thread),
		cmocka_unit_test(stopped_in_a_repeat),
		cmocka_unit_test(pc_devices),
		cmocka_unit_test(network),
		cmocka_unit_test(modes),
		cmocka_unit_test(long_mode_and_translation),
		cmocka_unit_test(saving),
		cmocka_unit_test(test_several_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
