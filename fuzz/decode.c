/*
 * decode.c - libFuzzer target: any bytes as an instruction, in all modes.
 *
 * Whatever the bytes are, they decode to something with a handler and a possible length, to the
 * same thing each time, no matter what follows; and only bytes that end too early ask for more.
 *
 * Run by `make fuzz-decode`.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/interp/decode.h"

#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "not so: %s\n", #condition);                               \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A heap copy of exactly `count` bytes, so that reading past them is seen. */
static bool decode(struct decoder *d, enum decode_mode mode, const uint8_t *bytes, unsigned count,
		   struct insn *i)
{
	uint8_t *copy = malloc(count ? count : 1);
	bool whole;

	REQUIRE(copy);
	memcpy(copy, bytes, count);
	memset(i, 0xa5, sizeof(*i));
	whole = decode_insn(d, NULL, mode, copy, count, 7, i);
	free(copy);
	return whole;
}

static bool same(const struct insn *a, const struct insn *b)
{
	return a->fn == b->fn && a->imm == b->imm && a->disp == b->disp && a->len == b->len &&
	       a->a == b->a && a->b == b->b && a->c == b->c && a->base == b->base &&
	       a->index == b->index && a->scale == b->scale && a->seg == b->seg &&
	       a->osz == b->osz && a->asz == b->asz && a->flags == b->flags && a->op == b->op;
}

static void check(struct decoder *d, enum decode_mode mode, const uint8_t *bytes, unsigned count)
{
	struct insn first, again, shorter;

	if (!decode(d, mode, bytes, count, &first)) {
		REQUIRE(count < INSN_BYTES_MAX);
		return;
	}
	REQUIRE(first.fn && first.at == 7 && first.len <= INSN_BYTES_MAX && first.len <= count);
	REQUIRE(first.base < R_COUNT && first.index < R_COUNT && first.seg < SEG_COUNT);
	REQUIRE(decode(d, mode, bytes, count, &again) && same(&first, &again));
	if (!first.asz || first.len == INSN_BYTES_MAX)
		return; /* what only faults depends on all the bytes looked at */
	REQUIRE(first.len > 0);
	REQUIRE(decode(d, mode, bytes, first.len, &again) && same(&first, &again));
	if (decode(d, mode, bytes, first.len - 1u, &shorter))
		REQUIRE(!shorter.asz);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct decoder *all, *model;

	if (!all) {
		all = decoder_new(NULL);
		model = decoder_new(cpu_models[0]);
		REQUIRE(all && model);
	}
	for (unsigned m = 0; m < DECODE_MODES; m++) {
		unsigned count = size < INSN_BYTES_MAX ? (unsigned)size : INSN_BYTES_MAX;

		check(all, (enum decode_mode)m, data, count);
		check(model, (enum decode_mode)m, data, count);
	}
	return 0;
}
