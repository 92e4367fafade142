/*
 * smp.c - several CPUs: how they start, interrupt each other, and in which order each sees what the
 * others store.
 *
 * The first CPU hands out jobs that all do at the same time. A litmus test runs its few
 * instructions in many slots, one after the other, and counts outcomes that x86-TSO (SDM vol.
 * 3 8.2) forbids. What it allows need not be seen.
 *
 * Command line: cpus=N (2 to 8), rounds=N.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bare.h"

#define CPUS  8
#define SLOTS 512
#define LINE  64

#define APIC        UINT64_C(0xfee00000)
#define ICR_PENDING 0x1000u
#define MSR_BASE    0x1b
#define MSR_X2APIC  0x800
#define MSR_GS_BASE 0xc0000101

enum { VECTOR_PLAIN = 0x41, VECTOR_FLUSH = 0x42, VECTOR_OTHER = 0x51 };
enum { FIXED = 0x000, LOWEST = 0x100, NMI = 0x400, INIT = 0x500, SIPI = 0x600 };
enum { LOGICAL = 0x800, ASSERT = 0x4000, TO_SELF = 0x40000, TO_ALL = 0x80000, TO_OTHERS = 0xc0000 };

static unsigned cpus;
static uint64_t rounds;
static volatile bool x2apic;

/* --- starting the others --- */

extern uint8_t trampoline[], trampoline_end[];
void ap_begin(uint64_t index);
uint8_t ap_stacks[CPUS][8192] __attribute__((aligned(16)));
uint64_t ap_next = 1;
struct {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed)) idt_pointer;

/* At 0x8000, in real mode: the shortest way to 64 bits. */
__asm__(".section .text\n"
	".code16\n"
	".globl trampoline, trampoline_end\n"
	"trampoline: cli\n"
	"xorw %ax, %ax\n"
	"movw %ax, %ds\n"
	"lgdtl 0x8000 + tr_gdt - trampoline\n"
	"movl $0x620, %eax\n"
	"movl %eax, %cr4\n"
	"movl $pml4, %eax\n"
	"movl %eax, %cr3\n"
	"movl $0xc0000080, %ecx\n"
	"rdmsr\n"
	"orl $0x901, %eax\n"
	"wrmsr\n"
	"movl $0x80000033, %eax\n"
	"movl %eax, %cr0\n"
	"ljmpl $8, $ap_long\n"
	".align 8\n"
	"tr_gdt: .word 0x7f\n"
	".long gdt\n"
	"trampoline_end:\n"
	".code64\n"
	"ap_long: movl $0x10, %eax\n"
	"movl %eax, %ds\n"
	"movl %eax, %es\n"
	"movl %eax, %ss\n"
	"lock incq ap_next\n"
	"movl $0xfee00020, %eax\n"
	"movl (%rax), %edi\n" /* the local APIC's ID is the CPU's number */
	"shrl $24, %edi\n"
	"movq %rdi, %rax\n"
	"shlq $13, %rax\n"
	"leaq ap_stacks + 8192(%rax), %rsp\n"
	"lidt idt_pointer\n"
	"call ap_begin\n");

static inline void pause(void)
{
	__asm__ volatile("pause");
}

static inline void cpuid(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

static uint32_t apic_read(unsigned reg)
{
	if (x2apic)
		return (uint32_t)rdmsr(MSR_X2APIC + reg);
	return *(volatile uint32_t *)(APIC + reg * 16);
}

static void apic_write(unsigned reg, uint32_t value)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + reg, value);
	else
		*(volatile uint32_t *)(APIC + reg * 16) = value;
}

static void send(uint32_t dest, uint32_t icr)
{
	if (x2apic) {
		wrmsr(MSR_X2APIC + 0x30, (uint64_t)dest << 32 | icr);
		return;
	}
	apic_write(0x31, dest << 24);
	apic_write(0x30, icr);
	while (apic_read(0x30) & ICR_PENDING)
		pause();
}

/* --- jobs --- */

struct cpu {
	uint64_t index;
	volatile uint64_t seen[256]; /* interrupts */
	uint64_t sum;
};
static struct cpu cpu_data[CPUS];
static void (*volatile job)(unsigned me);
static volatile uint64_t job_number, jobs_done;
static volatile uint64_t arrived;

static struct cpu *me(void)
{
	struct cpu *c;

	__asm__("movq %%gs:0, %0" : "=r"(c));
	return c;
}

static void add(volatile uint64_t *p, uint64_t n)
{
	__asm__ volatile("lock addq %1, %0" : "+m"(*p) : "r"(n) : "memory");
}

/* All CPUs meet; `phase` counts from 1 in each job. */
static void meet(uint64_t phase)
{
	add(&arrived, 1);
	while (arrived < phase * cpus)
		pause();
}

static struct cpu *gs_word[CPUS];

static void settle(unsigned index)
{
	cpu_data[index].index = index;
	gs_word[index] = &cpu_data[index];
	wrmsr(MSR_GS_BASE, (uint64_t)&gs_word[index]);
	apic_write(0x0f, 0x1ff);
	apic_write(0x0e, 0xffffffff); /* flat */
	apic_write(0x0d, UINT32_C(1) << (24 + index));
	__asm__ volatile("sti");
}

void ap_begin(uint64_t index)
{
	uint64_t number = 0;

	settle((unsigned)index);
	for (;;) {
		add(&jobs_done, 1);
		while (job_number == number)
			pause();
		number = job_number;
		job((unsigned)index);
	}
}

static void all_do(void (*what)(unsigned))
{
	jobs_done = 0;
	arrived = 0;
	job = what;
	job_number++;
	what(0);
	while (jobs_done < cpus - 1)
		pause();
}

static volatile uint8_t *flushed_page;

static bool interrupt(struct frame *f)
{
	if (f->vector != 2 && f->vector < 0x20)
		return false;
	if (f->vector == VECTOR_FLUSH)
		__asm__ volatile("invlpg (%0)" : : "r"(flushed_page) : "memory");
	me()->seen[f->vector]++;
	if (f->vector != 2)
		apic_write(0x0b, 0);
	return true;
}

static void start_others(void)
{
	for (unsigned i = 0; i < (unsigned)(trampoline_end - trampoline); i++)
		((volatile uint8_t *)0x8000)[i] = trampoline[i];
	__asm__ volatile("sidt %0" : "=m"(idt_pointer));
	on_trap = interrupt;
	settle(0);
	send(0, INIT | ASSERT | TO_OTHERS);
	send(0, SIPI | ASSERT | TO_OTHERS | 0x08);
	send(0, SIPI | ASSERT | TO_OTHERS | 0x08); /* as everybody does; it changes nothing */
	while (jobs_done < cpus - 1)
		pause();
	CHECK("all CPUs start", ap_next, cpus);
}

/* --- interrupts between CPUs --- */

static void wait_seen(unsigned cpu, unsigned vector, uint64_t count)
{
	while (cpu_data[cpu].seen[vector] < count)
		pause();
}

static uint64_t seen_by_all(unsigned vector)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < cpus; i++)
		n += cpu_data[i].seen[vector];
	return n;
}

static void forget(void)
{
	for (unsigned i = 0; i < cpus; i++)
		for (unsigned v = 0; v < 256; v++)
			cpu_data[i].seen[v] = 0;
}

static void test_interrupts(void)
{
	uint32_t self = apic_read(0x02) >> (x2apic ? 0 : 24), last = cpus - 1;

	forget();
	send(last, FIXED | ASSERT | VECTOR_PLAIN);
	wait_seen(last, VECTOR_PLAIN, 1);
	CHECK("fixed, physical: one gets it", seen_by_all(VECTOR_PLAIN), 1);
	send(x2apic ? UINT32_C(1) << last : 1u << last, LOGICAL | FIXED | ASSERT | VECTOR_PLAIN);
	wait_seen(last, VECTOR_PLAIN, 2);
	CHECK("fixed, logical: one gets it", seen_by_all(VECTOR_PLAIN), 2);
	send(3, LOGICAL | FIXED | ASSERT | VECTOR_OTHER);
	wait_seen(0, VECTOR_OTHER, 1);
	wait_seen(1, VECTOR_OTHER, 1);
	CHECK("fixed, logical: two get it", seen_by_all(VECTOR_OTHER), 2);
	send(0, FIXED | ASSERT | TO_OTHERS | VECTOR_OTHER);
	for (unsigned i = 1; i < cpus; i++)
		wait_seen(i, VECTOR_OTHER, i == 1 ? 2 : 1);
	CHECK("others get it", seen_by_all(VECTOR_OTHER), 2 + cpus - 1);
	CHECK("but not the sender", cpu_data[0].seen[VECTOR_OTHER], 1);
	forget();
	send(0, FIXED | ASSERT | TO_ALL | VECTOR_PLAIN);
	for (unsigned i = 0; i < cpus; i++)
		wait_seen(i, VECTOR_PLAIN, 1);
	CHECK("all get it", seen_by_all(VECTOR_PLAIN), cpus);
	send(self, FIXED | ASSERT | TO_SELF | VECTOR_OTHER);
	wait_seen(0, VECTOR_OTHER, 1);
	CHECK("self gets it", seen_by_all(VECTOR_OTHER), 1);
	forget();
	send((1u << cpus) - 1, LOGICAL | LOWEST | ASSERT | VECTOR_PLAIN);
	while (!seen_by_all(VECTOR_PLAIN))
		pause();
	for (unsigned i = 0; i < 1000; i++)
		pause();
	CHECK("lowest priority: one gets it", seen_by_all(VECTOR_PLAIN), 1);
	send(0, NMI | ASSERT | TO_OTHERS);
	for (unsigned i = 1; i < cpus; i++)
		wait_seen(i, 2, 1);
	CHECK("NMI to others", seen_by_all(2), cpus - 1);
}

static void sleep_once(unsigned index)
{
	if (index == 0)
		return;
	__asm__ volatile("cli");
	add(&arrived, 1);
	while (!me()->seen[VECTOR_PLAIN])
		__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
	__asm__ volatile("sti");
}

static void wake_sleepers(unsigned index)
{
	sleep_once(index);
	if (index)
		return;
	while (arrived < cpus - 1)
		pause();
	for (unsigned i = 1; i < cpus; i++)
		send(i, FIXED | ASSERT | VECTOR_PLAIN);
}

static void test_halted(void)
{
	forget();
	all_do(wake_sleepers);
	CHECK("interrupts wake halted CPUs", seen_by_all(VECTOR_PLAIN), cpus - 1);
}

static void to_x2apic(unsigned index)
{
	wrmsr(MSR_BASE, rdmsr(MSR_BASE) | 0x400);
	meet(1);
	if (index == 0)
		x2apic = true;
	meet(2);
}

/* --- memory ordering --- */

static struct {
	volatile uint64_t x, pad0[7], y, pad1[7];
	volatile uint64_t r[4], pad2[4];
} slot[SLOTS] __attribute__((aligned(LINE)));
static volatile uint64_t forbidden;

static void clear_slots(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		slot[i].x = slot[i].y = 0;
}

static inline uint64_t load(const volatile uint64_t *p)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*p));
	return v;
}
static inline void store(volatile uint64_t *p, uint64_t v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*p) : "r"(v));
}

/* Each has per slot: what a CPU does, and which outcome must not be. */
static void sb_mfence(unsigned cpu, unsigned i)
{
	if (cpu == 0) {
		store(&slot[i].x, 1);
		__asm__ volatile("mfence" : : : "memory");
		slot[i].r[0] = load(&slot[i].y);
	} else if (cpu == 1) {
		store(&slot[i].y, 1);
		__asm__ volatile("mfence" : : : "memory");
		slot[i].r[1] = load(&slot[i].x);
	}
}
static void sb_xchg(unsigned cpu, unsigned i)
{
	uint64_t one = 1;

	if (cpu > 1)
		return;
	__asm__ volatile("xchgq %0, %1"
			 : "+r"(one), "+m"(*(cpu ? &slot[i].y : &slot[i].x))
			 :
			 : "memory");
	slot[i].r[cpu] = load(cpu ? &slot[i].x : &slot[i].y);
}
static bool both_zero(unsigned i)
{
	return slot[i].r[0] == 0 && slot[i].r[1] == 0;
}

static void mp(unsigned cpu, unsigned i)
{
	if (cpu == 0) {
		store(&slot[i].x, 1);
		store(&slot[i].y, 1);
	} else if (cpu == 1) {
		slot[i].r[0] = load(&slot[i].y);
		slot[i].r[1] = load(&slot[i].x);
	}
}
static bool flag_without_data(unsigned i)
{
	return slot[i].r[0] == 1 && slot[i].r[1] == 0;
}

static void lb(unsigned cpu, unsigned i)
{
	if (cpu > 1)
		return;
	slot[i].r[cpu] = load(cpu ? &slot[i].y : &slot[i].x);
	store(cpu ? &slot[i].x : &slot[i].y, 1);
}
static bool both_one(unsigned i)
{
	return slot[i].r[0] == 1 && slot[i].r[1] == 1;
}

/* Two write, two others must agree on the order. */
static void iriw(unsigned cpu, unsigned i)
{
	if (cpu == 0)
		store(&slot[i].x, 1);
	else if (cpu == 1)
		store(&slot[i].y, 1);
	else if (cpu < 4) {
		slot[i].r[2 * (cpu - 2)] = load(cpu == 2 ? &slot[i].x : &slot[i].y);
		slot[i].r[2 * (cpu - 2) + 1] = load(cpu == 2 ? &slot[i].y : &slot[i].x);
	}
}
static bool disagree(unsigned i)
{
	return slot[i].r[0] == 1 && slot[i].r[1] == 0 && slot[i].r[2] == 1 && slot[i].r[3] == 0;
}

/* A load of 8 bytes sees a store of 8 bytes whole, and so does one of 4. */
static void whole(unsigned cpu, unsigned i)
{
	if (cpu == 0) {
		store(&slot[i].x, UINT64_MAX);
		store(&slot[i].x, 0);
	} else if (cpu == 1) {
		slot[i].r[0] = load(&slot[i].x);
	}
}
static bool torn(unsigned i)
{
	return slot[i].r[0] != 0 && slot[i].r[0] != UINT64_MAX;
}

static void (*litmus_body)(unsigned cpu, unsigned i);
static bool (*litmus_forbids)(unsigned i);

static void litmus_job(unsigned index)
{
	uint64_t phase = 0;

	for (uint64_t n = 0; n < rounds; n += SLOTS) {
		meet(++phase);
		for (unsigned i = 0; i < SLOTS; i++)
			litmus_body(index, i);
		meet(++phase);
		for (unsigned i = 0; index == 0 && i < SLOTS; i++)
			forbidden += litmus_forbids(i);
		if (index == 0)
			clear_slots();
	}
}

static void litmus(const char *name, void (*body)(unsigned, unsigned), bool (*forbids)(unsigned))
{
	forbidden = 0;
	clear_slots();
	litmus_body = body;
	litmus_forbids = forbids;
	all_do(litmus_job);
	CHECK(name, forbidden, 0);
}

/* --- locked instructions --- */

static volatile uint64_t total;
static uint8_t two_pages[2 * PAGE] __attribute__((aligned(PAGE)));
static volatile uint64_t pair[2] __attribute__((aligned(16)));
static volatile uint32_t spin;
static volatile uint64_t guarded;

#define SPLIT      ((volatile uint64_t *)(two_pages + PAGE - 3))
#define LINE_SPLIT ((volatile uint64_t *)(two_pages + 64 - 3))

static void add_job(unsigned index)
{
	uint64_t lo, hi;

	meet(1);
	for (uint64_t n = 0; n < rounds; n++) {
		__asm__ volatile("lock incq %0" : "+m"(total) : : "memory");
		__asm__ volatile("lock incq %0" : "+m"(*LINE_SPLIT) : : "memory");
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
		if (n % 64 == index) /* the host does not do this one: fewer */
			__asm__ volatile("lock incq %0" : "+m"(*SPLIT) : : "memory");
	}
}

static void test_locked(void)
{
	uint64_t split = 0;

	for (uint64_t n = 0; n < rounds; n++)
		for (unsigned i = 0; i < cpus; i++)
			split += n % 64 == i;
	all_do(add_job);
	CHECK("LOCK INC", total, cpus * rounds);
	CHECK("LOCK INC across cache lines", *LINE_SPLIT, cpus * rounds);
	CHECK("LOCK INC across pages", *SPLIT, split);
	CHECK("LOCK CMPXCHG16B", pair[0], cpus * rounds);
	CHECK("LOCK CMPXCHG16B, upper half", pair[1], -(cpus * rounds));
	CHECK("XCHG makes a lock", guarded, cpus * rounds);
}

/* --- code that another CPU changes --- */

static uint8_t code[PAGE] __attribute__((aligned(PAGE)));
static volatile uint64_t version, wrong;

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

	for (uint64_t n = 1; n <= rounds / 16 + 1; n++) {
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

static void test_code(void)
{
	all_do(code_job);
	CHECK("code that another CPU has written", wrong, 0);
}

/* --- page tables: the first CPU changes a mapping and makes all others forget it --- */

#define WINDOW (UINT64_C(1) << 39)
static uint64_t window_pdpt[512] __attribute__((aligned(PAGE)));
static uint64_t window_pd[512] __attribute__((aligned(PAGE)));
static uint64_t window_pt[512] __attribute__((aligned(PAGE)));
static uint8_t frames[2][PAGE] __attribute__((aligned(PAGE)));

static void map_frame(unsigned which)
{
	__atomic_store_n(&window_pt[0], (uint64_t)frames[which] | PTE_P | PTE_W, __ATOMIC_SEQ_CST);
}

static void shootdown_job(unsigned index)
{
	volatile uint8_t *at = (volatile uint8_t *)WINDOW;
	uint64_t phase = 0;

	for (uint64_t n = 1; n <= rounds / 16 + 1; n++) {
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
	frames[1][0] = 1;
	window_pd[0] = (uint64_t)window_pt | PTE_P | PTE_W;
	window_pdpt[0] = (uint64_t)window_pd | PTE_P | PTE_W;
	flushed_page = (volatile uint8_t *)WINDOW;
	map_frame(0);
	pml4[1] = (uint64_t)window_pdpt | PTE_P | PTE_W;
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

	for (uint64_t n = 1; n <= rounds / 16 + 1; n++) {
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

static void test_dirty(void)
{
	wrong = 0;
	window_pt[1] = (uint64_t)frames[0] | PTE_P | PTE_W;
	all_do(dirty_job);
	CHECK("A and D bits that several CPUs set", wrong, 0);
}

/* --- what KVM offers guests of several CPUs: Linux Documentation/virt/kvm/x86 --- */

#define MSR_STEAL_TIME 0x4b564d03
#define SERVICES       0x2aa0u /* CPUID 4000_0001H EAX: all five */
enum { KICK_CPU = 5, SEND_IPI = 10 };
enum { PREEMPTED = 1, FLUSH_TLB = 2 };

static struct {
	uint64_t steal;
	uint32_t version, flags;
	uint8_t preempted, pad[47];
} steal_time[CPUS] __attribute__((aligned(LINE)));
static volatile bool go[CPUS];

static bool services(void)
{
	uint32_t a = 0x40000001, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return (a & SERVICES) == SERVICES;
}

static uint64_t hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	__asm__ volatile("vmcall" : "+a"(number) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return number;
}

/* CPUs sleep with interrupts off: nothing but the kick wakes them, however early it comes. */
static void kick_job(unsigned index)
{
	uint64_t phase = 0;

	for (uint64_t n = 1; n <= rounds / 16 + 1; n++) {
		go[index] = false;
		meet(++phase);
		if (index) {
			__asm__ volatile("cli");
			while (!go[index])
				__asm__ volatile("hlt" : : : "memory");
			__asm__ volatile("sti");
			add(&total, 1);
			continue;
		}
		for (unsigned i = 1; i < cpus; i++) {
			go[i] = true;
			hypercall(KICK_CPU, 0, i, 0, 0);
		}
	}
}

/* A flush is left to the machine, if the flag says that the other CPU does not run. */
static void flush_of(unsigned cpu)
{
	uint64_t before = cpu_data[cpu].seen[VECTOR_FLUSH];
	uint8_t flag = PREEMPTED;

	for (unsigned i = 0; i < 1000; i++)
		if (!__atomic_load_n(&steal_time[cpu].preempted, __ATOMIC_RELAXED))
			pause();
	if (__atomic_compare_exchange_n(&steal_time[cpu].preempted, &flag, PREEMPTED | FLUSH_TLB,
					false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	send(cpu, FIXED | ASSERT | VECTOR_FLUSH);
	wait_seen(cpu, VECTOR_FLUSH, before + 1);
}

static void flush_job(unsigned index)
{
	volatile uint8_t *at = (volatile uint8_t *)WINDOW;
	uint64_t phase = 0;

	flush_tlb();
	wrmsr(MSR_STEAL_TIME, (uint64_t)&steal_time[index] | 1);
	for (uint64_t n = 1; n <= rounds / 16 + 1; n++) {
		go[index] = false;
		if (*at == (n & 1))
			add(&wrong, 1);
		meet(++phase);
		if (index) {
			__asm__ volatile("cli");
			while (!go[index])
				__asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
			__asm__ volatile("sti");
		} else {
			map_frame(n & 1);
			__asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
			for (unsigned i = 1; i < cpus; i++) {
				flush_of(i);
				go[i] = true;
				hypercall(KICK_CPU, 0, i, 0, 0);
			}
		}
		if (*at != (n & 1))
			add(&wrong, 1);
		meet(++phase);
	}
	wrmsr(MSR_STEAL_TIME, 0);
}

static void test_services(void)
{
	uint64_t sent;

	if (!services())
		return;
	forget();
	sent = hypercall(SEND_IPI, (1u << cpus) - 1, 0, 0, VECTOR_PLAIN);
	CHECK("a message to many by hypercall", sent, cpus);
	for (unsigned i = 0; i < cpus; i++)
		wait_seen(i, VECTOR_PLAIN, 1);
	CHECK("arrives once at each", seen_by_all(VECTOR_PLAIN), cpus);
	total = 0;
	all_do(kick_job);
	CHECK("kicks wake CPUs that take no interrupts", total, (rounds / 16 + 1) * (cpus - 1));
	wrong = 0;
	map_frame(0);
	all_do(flush_job);
	CHECK("a TLB flush that waits until the CPU runs", wrong, 0);
}

void test_main(void)
{
	cpus = (unsigned)command_line_number("cpus=", 4);
	rounds = command_line_number("rounds=", 20000);
	start_others();
	test_interrupts();
	test_halted();
	litmus("store buffering, MFENCE", sb_mfence, both_zero);
	litmus("store buffering, XCHG", sb_xchg, both_zero);
	litmus("message passing", mp, flag_without_data);
	litmus("load buffering", lb, both_one);
	litmus("stores are whole", whole, torn);
	if (cpus >= 4)
		litmus("independent reads of independent writes", iriw, disagree);
	test_locked();
	test_code();
	test_shootdown();
	test_dirty();
	test_services();
	all_do(to_x2apic);
	test_interrupts();
	test_halted();
	quit(0);
}
