/*
 * smp_memory.c - several CPUs use the same memory: locked instructions, code that one changes and
 * others execute, page tables that one changes and others walk.
 *
 * SPDX-License-Identifier: MIT
 */
#include "window.h"

static volatile uint64_t total, wrong;

/* --- locked instructions --- */

static uint8_t two_pages[2 * PAGE] __attribute__((aligned(PAGE)));
static volatile uint64_t pair[2] __attribute__((aligned(16)));
static volatile uint32_t spin;
static volatile uint64_t guarded;

#define SPLIT      ((volatile uint64_t *)(two_pages + PAGE - 3))
#define LINE_SPLIT ((volatile uint64_t *)(two_pages + 64 - 3))
/* What takes so long that few rounds have to do: hosts make a split lock wait. */
static bool seldom(uint64_t n, unsigned index)
{
	return n % 32 == index % 32 && n < 4 * few;
}

static void add_job(unsigned index)
{
	uint64_t lo, hi;

	meet(1);
	for (uint64_t n = 0; n < rounds; n++) {
		__asm__ volatile("lock incq %0" : "+m"(total) : : "memory");
		lo = pair[0];
		hi = pair[1];
		for (bool done = false; !done;)
			__asm__ volatile("lock cmpxchg16b %0"
					 : "+m"(pair), "+a"(lo), "+d"(hi), "=@ccz"(done)
					 : "b"(lo + 1), "c"(hi - 1)
					 : "memory");
		while (__atomic_exchange_n(&spin, 1, __ATOMIC_ACQUIRE))
			pause();
		guarded++;
		__atomic_store_n(&spin, 0, __ATOMIC_RELEASE);
		if (seldom(n, index)) {
			__asm__ volatile("lock incq %0" : "+m"(*LINE_SPLIT) : : "memory");
			__asm__ volatile("lock incq %0" : "+m"(*SPLIT) : : "memory");
		}
	}
}

static void test_locked(void)
{
	uint64_t split = 0;

	for (uint64_t n = 0; n < rounds; n++)
		for (unsigned i = 0; i < cpus; i++)
			split += seldom(n, i);
	all_do(add_job);
	CHECK("LOCK INC", total, cpus * rounds);
	CHECK("LOCK INC across cache lines", *LINE_SPLIT, split);
	CHECK("LOCK INC across pages", *SPLIT, split);
	CHECK("LOCK CMPXCHG16B", pair[0], cpus * rounds);
	CHECK("LOCK CMPXCHG16B, upper half", pair[1], -(cpus * rounds));
	CHECK("XCHG makes a lock", guarded, cpus * rounds);
}

/* A device's register that keeps what is written: the upper half of an IOAPIC's redirection entry
 * (82093AA 3.2.4), whose top byte is the destination. */
#define IOREGSEL         (*(volatile uint32_t *)0xfec00000)
#define IOWIN            (*(volatile uint32_t *)0xfec00010)
#define IOREDTBL_HIGH(n) (0x11 + 2 * (n))

static void device_job(unsigned index)
{
	uint32_t one = UINT32_C(1) << 24;

	for (uint64_t n = 0; n < few + index; n++)
		__asm__ volatile("lock addl %1, %0" : "+m"(IOWIN) : "r"(one) : "memory");
}

static void test_locked_device(void)
{
	uint64_t sum = 0;

	IOREGSEL = IOREDTBL_HIGH(20);
	IOWIN = 0;
	for (unsigned i = 0; i < cpus; i++)
		sum += few + i;
	all_do(device_job);
	CHECK("LOCK ADD to a device's register", IOWIN >> 24, sum & 0xff);
	IOWIN = 0;
}

/*
 * The last bytes of a page and a device's first ones (IOREGSEL, a byte that is kept) in one locked
 * access, while others lock either half: none of it is lost. The mapping is the window's.
 */
#define HALVES  ((volatile uint64_t *)(WINDOW + 3 * PAGE - 4))
#define IN_PAGE (*(volatile uint32_t *)(frames[1] + PAGE - 4))

static void halves_job(unsigned index)
{
	meet(1);
	for (uint64_t n = 0; n < few; n++) {
		__asm__ volatile("lock addq %1, %0"
				 : "+m"(*HALVES)
				 : "r"(UINT64_C(0x100000001))
				 : "memory");
		for (unsigned i = 0; i < 100; i++)
			__asm__ volatile("lock incl %0" : "+m"(IN_PAGE) : : "memory");
		if (n % 4 == index % 4)
			__asm__ volatile("lock incb %0"
					 : "+m"(*(volatile uint8_t *)&IOREGSEL)
					 :
					 : "memory");
	}
}

static void test_locked_halves(void)
{
	uint64_t device = cpus * few;

	if (command_line_number("kvm=", 0)) /* which writes the halves one after the other */
		return;
	for (uint64_t n = 0; n < few; n++)
		for (unsigned i = 0; i < cpus; i++)
			device += n % 4 == i % 4;
	open_window();
	window_pt[2] = (uint64_t)frames[1] | PTE_P | PTE_W;
	window_pt[3] = (uint64_t)&IOREGSEL | PTE_P | PTE_W;
	IOREGSEL = 0;
	all_do(halves_job);
	CHECK("LOCK ADD to memory and a device, memory", IN_PAGE, cpus * few * 101);
	CHECK("LOCK ADD to memory and a device, device", IOREGSEL & 0xff, device & 0xff);
}

/* --- code that another CPU changes --- */

static uint8_t code[PAGE] __attribute__((aligned(PAGE)));
static volatile uint64_t version;

/* mov eax, number; ret */
static void write_code(uint32_t number)
{
	volatile uint8_t *at = code + 100;

	at[0] = 0xb8;
	for (unsigned i = 0; i < 4; i++)
		at[1 + i] = (uint8_t)(number >> (8 * i));
	at[5] = 0xc3;
}

static void code_job(unsigned index)
{
	uint32_t (*function)(void) = (uint32_t(*)(void))(uint64_t)(code + 100);

	for (uint64_t n = 1; n <= few; n++) {
		if (index == 0) {
			write_code((uint32_t)n * 3);
			version = n;
		}
		while (version < n)
			pause();
		cpuid(); /* SDM vol. 3 8.1.3: who executes it serializes first */
		if (function() != (uint32_t)n * 3)
			add(&wrong, 1);
		meet(n);
	}
}

/*
 * A function that the others call all the time while the first replaces its first five bytes, as
 * Linux does (arch/x86/kernel/alternative.c, text_poke_bp_batch()): a breakpoint, then the other
 * four, then the first byte, and all CPUs serialize between. Who meets the breakpoint goes where
 * the jump will lead. The version is odd while it is changed.
 */
enum { PATCHED = 1024, TARGET = PATCHED + 64 };
static const uint8_t patch[2][5] = {
	{0x0f,  0x1f,                 0x44, 0, 0}, /* NOP */
	{ 0xe9, TARGET - PATCHED - 5, 0,    0, 0}
}; /* JMP TARGET */
static volatile uint64_t calls;

static bool breakpoint(struct frame *f)
{
	if (f->vector != 3 || f->rip != (uint64_t)(code + PATCHED + 1))
		return count_interrupt(f);
	f->rip = (uint64_t)(code + TARGET);
	return true;
}

static void serialize_all(void)
{
	uint64_t before[CPUS];

	for (unsigned i = 1; i < cpus; i++)
		before[i] = cpu_data[i].seen[VECTOR_PLAIN];
	send(0, FIXED | ASSERT | TO_OTHERS | VECTOR_PLAIN);
	for (unsigned i = 1; i < cpus; i++)
		wait_seen(i, VECTOR_PLAIN, before[i] + 1);
	cpuid();
}

static void replace(const uint8_t bytes[5])
{
	volatile uint8_t *at = code + PATCHED;

	at[0] = 0xcc;
	serialize_all();
	for (unsigned i = 1; i < 5; i++)
		at[i] = bytes[i];
	serialize_all();
	at[0] = bytes[0];
	serialize_all();
}

static void call_patched(void)
{
	uint32_t (*function)(void) = (uint32_t(*)(void))(uint64_t)(code + PATCHED);
	uint64_t before = version, n = function(), after = version;

	if (n != 1 && n != 2)
		add(&wrong, 1);
	if (before == after && before % 2 == 0 && n != 1 + before / 2 % 2)
		add(&wrong, 1);
	add(&calls, 1);
}

static void patch_job(unsigned index)
{
	if (index) {
		while (version != UINT64_MAX) {
			call_patched();
			pause(); /* others may have no processor of their own */
		}
		return;
	}
	for (uint64_t n = 1; n <= few / 4 + 1; n++) {
		uint64_t called = calls;

		version++;
		replace(patch[n & 1]);
		version++;
		while (calls < called + 2)
			pause();
	}
	version = UINT64_MAX;
}

/* mov eax, VALUE; ret */
static void write_function(unsigned at, uint8_t value)
{
	static const uint8_t bytes[] = { 0xb8, 0, 0, 0, 0, 0xc3 };

	for (unsigned i = 0; i < sizeof(bytes); i++)
		code[at + i] = bytes[i];
	code[at + 1] = value;
}

static void test_code(void)
{
	wrong = 0;
	all_do(code_job);
	CHECK("code that another CPU has written", wrong, 0);
	version = 0;
	write_function(PATCHED + 5, 1);
	write_function(TARGET, 2);
	for (unsigned i = 0; i < 5; i++)
		code[PATCHED + i] = patch[0][i];
	on_trap = breakpoint;
	all_do(patch_job);
	on_trap = count_interrupt;
	CHECK("code that another CPU changes meanwhile", wrong, 0);
}

/* --- page tables: the first CPU changes a mapping and makes all others forget it --- */

static void shootdown_job(unsigned index)
{
	volatile uint8_t *at = (volatile uint8_t *)WINDOW;
	uint64_t phase = 0;

	for (uint64_t n = 1; n <= few; n++) {
		if (index == 0) {
			uint64_t before[CPUS];

			map_frame(n & 1);
			for (unsigned i = 0; i < cpus; i++)
				before[i] = cpu_data[i].seen[VECTOR_FLUSH];
			send(0, FIXED | ASSERT | TO_ALL | VECTOR_FLUSH);
			for (unsigned i = 0; i < cpus; i++)
				wait_seen(i, VECTOR_FLUSH, before[i] + 1);
		}
		meet(++phase);
		if (*at != (n & 1))
			add(&wrong, 1);
		meet(++phase);
	}
}

static void test_shootdown(void)
{
	wrong = 0;
	open_window();
	all_do(shootdown_job);
	CHECK("a mapping that another CPU has changed", wrong, 0);
}

/*
 * Others set the A and D bits of an entry, while the first counts in the bits beside them, which
 * are the system's: no count may be lost.
 */
static void dirty_job(unsigned index)
{
	volatile uint64_t *pte = &window_pt[1];

	for (uint64_t n = 1; n <= few; n++) {
		if (index == 0) {
			uint64_t was = *pte & 0xe00;

			__asm__ volatile("lock andq %1, %0"
					 : "+m"(*pte)
					 : "r"(~(PTE_A | PTE_D))
					 : "memory");
			__asm__ volatile("lock xorq %1, %0"
					 : "+m"(*pte)
					 : "r"(UINT64_C(0x600))
					 : "memory");
			wrong += (*pte & 0xe00) != (was ^ 0x600);
		} else {
			__asm__ volatile("invlpg (%0)" : : "r"(WINDOW + PAGE) : "memory");
			*(volatile uint8_t *)(WINDOW + PAGE + index) = (uint8_t)n;
		}
	}
}

/* All walk at the same time: the bits are there, whoever was first. */
static void walk_job(unsigned index)
{
	volatile uint64_t *pte = &window_pt[1];
	uint64_t phase = 0;

	for (uint64_t n = 1; n <= few; n++) {
		if (index == 0)
			__atomic_fetch_and(pte, ~(PTE_A | PTE_D), __ATOMIC_SEQ_CST);
		meet(++phase);
		__asm__ volatile("invlpg (%0)" : : "r"(WINDOW + PAGE) : "memory");
		*(volatile uint8_t *)(WINDOW + PAGE + index) = (uint8_t)n;
		if ((*pte & (PTE_A | PTE_D)) != (PTE_A | PTE_D) || frames[0][index] != (uint8_t)n)
			add(&wrong, 1);
		meet(++phase);
	}
}

static void test_dirty(void)
{
	wrong = 0;
	window_pt[1] = (uint64_t)frames[0] | PTE_P | PTE_W;
	all_do(dirty_job);
	CHECK("A and D bits that several CPUs set", wrong, 0);
	wrong = 0;
	all_do(walk_job);
	CHECK("and which each then finds set", wrong, 0);
}
void test_main(void)
{
	start_others();
	test_locked();
	test_locked_device();
	test_locked_halves();
	test_code();
	test_shootdown();
	test_dirty();
	quit(0);
}
