/*
 * integer.c - integer work: lists, matrices and a state machine; sort and hash; a bytecode
 * interpreter; recursion.
 *
 * Each kind stresses another thing a translator must do well: `lists` dependent loads and
 * data-driven branches, `sort` scattered memory, `bytecode` indirect jumps, `calls` call and
 * return.
 *
 * Its test: main.c. SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "work.h"

/* ---- lists: what an embedded benchmark does: a linked list, a small matrix, a scanner ---- */

struct node {
	struct node *next;
	int16_t key, data;
};

static struct node *list_insert_sorted(struct node *head, struct node *n)
{
	struct node **at = &head;

	while (*at && (*at)->key < n->key)
		at = &(*at)->next;
	n->next = *at;
	*at = n;
	return head;
}

static struct node *list_reverse(struct node *head)
{
	struct node *done = NULL;

	while (head) {
		struct node *next = head->next;

		head->next = done;
		done = head;
		head = next;
	}
	return done;
}

static uint32_t lists_part(void)
{
	static struct node nodes[200];
	struct node *head = NULL;
	uint64_t seed = 7;
	uint32_t sum = 0;

	for (unsigned i = 0; i < 200; i++) {
		uint64_t r = next_random(&seed);

		nodes[i] = (struct node){ .key = (int16_t)(r & 0x3ff), .data = (int16_t)(r >> 20) };
		head = list_insert_sorted(head, &nodes[i]);
	}
	for (unsigned round = 0; round < 20; round++) {
		head = list_reverse(head);
		for (struct node *n = head; n; n = n->next) {
			if (n->key & 1)
				sum += (uint32_t)(n->data ^ (int)round);
			else
				sum = sum << 1 | sum >> 31;
		}
	}
	return sum;
}

#define SIDE 24

static uint32_t matrix_part(void)
{
	static int32_t a[SIDE][SIDE], b[SIDE][SIDE];
	uint32_t sum = 0;

	for (int i = 0; i < SIDE; i++) {
		for (int j = 0; j < SIDE; j++) {
			a[i][j] = (int16_t)(i * 31 + j * 17);
			b[i][j] = (int16_t)(i * 13 - j * 29);
		}
	}
	for (int i = 0; i < SIDE; i++) {
		for (int j = 0; j < SIDE; j++) {
			int32_t c = 0;

			for (int k = 0; k < SIDE; k++)
				c += a[i][k] * b[k][j] >> 3;
			sum = sum * 31 + (uint32_t)c;
		}
	}
	return sum;
}

/* Classifies the numbers in a text: integer, fraction, exponent, none of them. */
static uint32_t scanner_part(void)
{
	static const char text[] =
		"5012,1234.500,-874e+3,0.33,+122,-1.0e-5,T0.3e-1F,12-3,.e,99999,7e7e7,0x1f,";
	enum { START, DIGITS, FRACTION, EXPONENT, SIGNED, BAD, STATES } state = START;
	uint32_t count[STATES] = { 0 }, sum = 0;

	for (unsigned round = 0; round < 40; round++) {
		for (const char *p = text; *p; p++) {
			char c = *p;

			if (c == ',') {
				count[state]++;
				state = START;
			} else if (c >= '0' && c <= '9') {
				state = state == START ? DIGITS : state;
			} else if (c == '+' || c == '-') {
				state = state == START ? DIGITS : state == EXPONENT ? SIGNED : BAD;
			} else if (c == '.') {
				state = state <= DIGITS ? FRACTION : BAD;
			} else {
				state = c == 'e' && (state == DIGITS || state == FRACTION)
						? EXPONENT
						: BAD;
			}
		}
	}
	for (unsigned i = 0; i < STATES; i++)
		sum = sum * 31 + count[i];
	return sum;
}

uint64_t work_lists(void)
{
	uint64_t sum = lists_part();

	for (unsigned i = 0; i < 2; i++)
		sum = sum * 31 + matrix_part();
	return sum * 31 + scanner_part();
}

/* ---- sort: quicksort of 64 Ki numbers, then a hash table of them ---- */

#define NUMBERS 65536

static uint32_t numbers[NUMBERS], table[NUMBERS * 2];

static void quicksort(uint32_t *a, long low, long high)
{
	while (low < high) {
		uint32_t pivot = a[low + (high - low) / 2];
		long i = low, j = high;

		while (i <= j) {
			while (a[i] < pivot)
				i++;
			while (a[j] > pivot)
				j--;
			if (i <= j) {
				uint32_t t = a[i];

				a[i++] = a[j];
				a[j--] = t;
			}
		}
		if (j - low < high - i) {
			quicksort(a, low, j);
			low = i;
		} else {
			quicksort(a, i, high);
			high = j;
		}
	}
}

static uint32_t place(uint32_t key)
{
	uint32_t at = key * 2654435769u >> 15;

	while (table[at] && table[at] != key)
		at = (at + 1) % (NUMBERS * 2);
	return at;
}

uint64_t work_sort(void)
{
	uint64_t seed = 99, sum = 0;

	for (unsigned i = 0; i < NUMBERS; i++)
		numbers[i] = (uint32_t)next_random(&seed) | 1;
	quicksort(numbers, 0, NUMBERS - 1);
	memset(table, 0, sizeof(table));
	for (unsigned i = 0; i < NUMBERS; i++)
		table[place(numbers[i])] = numbers[i];
	for (unsigned i = 0; i < NUMBERS; i++)
		sum += place(numbers[i] ^ (i & 1)) ^ (sum << 1);
	return sum;
}

/* ---- bytecode: a stack machine that counts primes ---- */

enum op { PUSH, LOAD, STORE, ADD, SUB, MUL, MOD, LESS, JUMP, JUMP_IF, JUMP_IFNOT, INCREMENT, END };

/* clang-format off */
static const int16_t primes[] = {
	PUSH, 0, STORE, 2,                  /*  0 count = 0 */
	PUSH, 2, STORE, 0,                  /*  4 n = 2 */
	PUSH, 2, STORE, 1,                  /*  8 outer: d = 2 */
	LOAD, 0, LOAD, 1, LOAD, 1, MUL, LESS, JUMP_IF, 33, /* 12 inner: n < d*d: prime */
	LOAD, 0, LOAD, 1, MOD, JUMP_IFNOT, 35, /* 22 n % d == 0: not */
	INCREMENT, 1, JUMP, 12,             /* 29 */
	INCREMENT, 2,                       /* 33 prime */
	INCREMENT, 0,                       /* 35 next */
	LOAD, 0, PUSH, 4000, LESS, JUMP_IF, 8, /* 37 */
	END,                                /* 44 */
};
/* clang-format on */

uint64_t work_bytecode(void)
{
	static const void *const go[] = { &&push,       &&load,      &&store, &&add,  &&sub,
					  &&mul,        &&mod,       &&less,  &&jump, &&jump_if,
					  &&jump_ifnot, &&increment, &&end };
	int64_t stack[32], variable[4] = { 0 }, *sp = stack;
	const int16_t *pc = primes;

#define NEXT goto *go[*pc++]
	NEXT;
push:
	*sp++ = *pc++;
	NEXT;
load:
	*sp++ = variable[*pc++];
	NEXT;
store:
	variable[*pc++] = *--sp;
	NEXT;
add:
	sp--, sp[-1] += sp[0];
	NEXT;
sub:
	sp--, sp[-1] -= sp[0];
	NEXT;
mul:
	sp--, sp[-1] *= sp[0];
	NEXT;
mod:
	sp--, sp[-1] %= sp[0];
	NEXT;
less:
	sp--, sp[-1] = sp[-1] < sp[0];
	NEXT;
jump:
	pc = primes + *pc;
	NEXT;
jump_if:
	pc = *--sp ? primes + *pc : pc + 1;
	NEXT;
jump_ifnot:
	pc = *--sp ? pc + 1 : primes + *pc;
	NEXT;
increment:
	variable[*pc++]++;
	NEXT;
end:
#undef NEXT
	return (uint64_t)variable[2];
}

/* ---- calls: recursion of several shapes ---- */

static __attribute__((noinline)) unsigned fibonacci(unsigned n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static __attribute__((noinline)) unsigned ackermann(unsigned m, unsigned n)
{
	if (m == 0)
		return n + 1;
	return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

static __attribute__((noinline)) unsigned queens(unsigned left, unsigned columns, unsigned up,
						 unsigned down)
{
	unsigned found = 0;

	if (left == 0)
		return 1;
	for (unsigned free = ~(columns | up | down) & 0xff; free; free &= free - 1) {
		unsigned bit = free & -free;

		found += queens(left - 1, columns | bit, (up | bit) << 1, (down | bit) >> 1);
	}
	return found;
}

uint64_t work_calls(void)
{
	return fibonacci(21) * 1000003ull + ackermann(2, 40) * 1009ull + queens(8, 0, 0, 0);
}

const struct work integer_works[] = {
	{"lists",     NULL, work_lists, 1 },
	{ "sort", NULL, work_sort, 1 },
	{ "lz",          lz_setup, work_lz, 1 },
	{ "bytecode",       NULL, work_bytecode, 1 },
	{ "digest",          digest_setup, work_digest, 1 },
	{ "calls",       NULL, work_calls, 1 },
	{ 0   },
};
