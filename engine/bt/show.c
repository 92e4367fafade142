/*
 * show.c - --trace translate: a block's guest code beside the host code made of it.
 *
 * The idea: the translator leaves where each guest instruction's code begins, and each cold part is
 * found by the jump that leads to it; the rest is a disassembler, whose formatter is told the
 * names of stubs and of members of struct interp. Host addresses are offsets into the block.
 *
 * Tested by test/unit/bt_look.c. SPDX-License-Identifier: MIT
 */
#include <Zycore/Format.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/bt/translation.h"

#define TEXT_BYTES 128u

struct show {
	const struct translation *x;
	ZydisFormatter guest, host;
	ZydisFormatterFunc format_memory; /* the library's own */
};

static ZyanStatus append(ZydisFormatterBuffer *buffer, const char *text)
{
	ZyanString *string;

	ZYAN_CHECK(ZydisFormatterBufferAppend(buffer, ZYDIS_TOKEN_SYMBOL));
	ZYAN_CHECK(ZydisFormatterBufferGetString(buffer, &string));
	return ZyanStringAppendFormat(string, "%s", text);
}

static const uint8_t *exec_begin(const struct translation *x)
{
	return bt_exec(x->t, x->t->room->at);
}

/* Is it an executable address of the block itself? */
static bool name_own(const struct translation *x, uint64_t to, char *text)
{
	static const char *const names[2] = { "+", "cold+" };

	for (unsigned n = 0; n < 2; n++) {
		const struct bt_piece *p = &x->piece[n];
		uint64_t in = to - (uintptr_t)bt_exec(x->t, p->begin);

		if (in < (uint64_t)(p->end - p->begin)) {
			snprintf(text, TEXT_BYTES, "%s%" PRIx64, names[n], in);
			return true;
		}
	}
	return false;
}

/* What lies at an executable address, or in the data before it. */
static void name_address(const struct translation *x, uint64_t to, char *text)
{
	const struct bt *t = x->t;
	uint64_t memory = to - (uintptr_t)t->memory;
	uint64_t cell = to - (uintptr_t)t->cell;
	const char *stub = bt_stub_name(t, to);

	if (stub)
		snprintf(text, TEXT_BYTES, "%s", stub);
	else if (name_own(x, to, text))
		return;
	else if (memory < t->room->memories_all * sizeof(struct bt_memory))
		snprintf(text, TEXT_BYTES, "memory%u+%u",
			 (unsigned)(memory / sizeof(struct bt_memory)),
			 (unsigned)(memory % sizeof(struct bt_memory)));
	else if (cell < t->room->cells_all * sizeof(struct bt_cell))
		snprintf(text, TEXT_BYTES, "cell%u+%u", (unsigned)(cell / sizeof(struct bt_cell)),
			 (unsigned)(cell % sizeof(struct bt_cell)));
	else
		snprintf(text, TEXT_BYTES, "0x%" PRIx64, to);
}

/* Target of a branch, or of a RIP-relative operand. */
static ZyanStatus print_address(const ZydisFormatter *formatter, ZydisFormatterBuffer *buffer,
				ZydisFormatterContext *context)
{
	const struct show *s = context->user_data;
	char text[TEXT_BYTES];
	ZyanU64 to;

	(void)formatter;
	ZYAN_CHECK(ZydisCalcAbsoluteAddress(context->instruction, context->operand,
					    context->runtime_address, &to));
	name_address(s->x, to, text);
	return append(buffer, text);
}

/* gs:[member]; all others as they are. */
static ZyanStatus print_memory(const ZydisFormatter *formatter, ZydisFormatterBuffer *buffer,
			       ZydisFormatterContext *context)
{
	const ZydisDecodedOperandMem *m = &context->operand->mem;
	const struct show *s = context->user_data;
	char name[BT_NAME_BYTES], text[TEXT_BYTES];
	const char *field = NULL;

	if (m->segment == ZYDIS_REGISTER_GS && m->base == ZYDIS_REGISTER_NONE &&
	    m->index == ZYDIS_REGISTER_NONE)
		field = bt_field_name(name, (uint64_t)m->disp.value);
	if (!field)
		return s->format_memory(formatter, buffer, context);
	snprintf(text, sizeof(text), "gs:[%s]", field);
	return append(buffer, text);
}

static void hook(ZydisFormatter *f, ZydisFormatterFunction which, ZydisFormatterFunc fn,
		 ZydisFormatterFunc *old)
{
	union {
		ZydisFormatterFunc fn;
		const void *p;
	} u = { fn };

	if (ZYAN_SUCCESS(ZydisFormatterSetHook(f, which, &u.p)) && old)
		*old = u.fn;
}

static void text_of_guest(const struct show *s, unsigned n, char *text)
{
	const struct translation *x = s->x;

	if (!x->known[n] ||
	    ZYAN_FAILED(ZydisFormatterFormatInstruction(
		    &s->guest, &x->all_zi[n], x->all_op[n], x->all_zi[n].operand_count_visible,
		    text, TEXT_BYTES, x->c->r[R_RIP] + x->b->insn[n].at, NULL)))
		snprintf(text, TEXT_BYTES, "(not decoded)");
}

/* In its piece, of a write address. */
static unsigned offset_of(const struct translation *x, const uint8_t *at)
{
	const struct bt_piece *hot = &x->piece[0];

	return (unsigned)(at >= hot->begin && at < hot->end ? at - hot->begin
							    : at - x->piece[1].begin);
}

/* Host code [from, to), write addresses, of which `text` is beside the first. */
static void lines(const struct show *s, const char *text, const uint8_t *from, const uint8_t *to)
{
	const struct translation *x = s->x;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction zi;
	char host[TEXT_BYTES];

	if (from >= to) /* an instruction that became nothing */
		vm_trace(x->c->vcpu->vm, "%-44s |", text);
	for (; from < to; from += zi.length, text = "") {
		if (ZYAN_FAILED(ZydisDecoderDecodeFull(&x->t->zydis, from, (size_t)(to - from), &zi,
						       op)) ||
		    ZYAN_FAILED(ZydisFormatterFormatInstruction(
			    &s->host, &zi, op, zi.operand_count_visible, host, sizeof(host),
			    (uintptr_t)bt_exec(x->t, from), (void *)s))) {
			zi.length = 1;
			snprintf(host, sizeof(host), "byte 0x%02x", *from);
		}
		vm_trace(x->c->vcpu->vm, "%-44s | %4x  %s", text, offset_of(x, from), host);
	}
}

/* Where a cold part begins: where the jump at its `from` leads, or what is said there. */
static const uint8_t *begin_of(const struct translation *x, const struct cold *k)
{
	int32_t distance;

	if (!k->from)
		return NULL;
	memcpy(&distance, k->from - 4, 4);
	return (k->kind == COLD_SETTLE ? x->t->code.write_at : k->from) + distance;
}

/* The cold part before `end` that begins next after `at`, or at it; NULL: none. */
static const struct cold *next_cold(const struct translation *x, const uint8_t *at,
				    const uint8_t *end)
{
	const struct cold *best = NULL;

	for (unsigned n = 0; n < x->colds; n++) {
		const struct cold *k = &x->cold[n];
		const uint8_t *begin = begin_of(x, k);

		if (begin && begin >= at && begin < end && (!best || begin < begin_of(x, best)))
			best = k;
	}
	return best;
}

static void show_cold(const struct show *s, const uint8_t *at, const uint8_t *end)
{
	static const char *const kinds[] = {
		[COLD_CELL] = "refill",  [COLD_TABLE] = "table",   [COLD_SLOW] = "handler",
		[COLD_TAKEN] = "taken",  [COLD_BUDGET] = "budget", [COLD_VECTOR] = "vectors",
		[COLD_X87] = "x87",      [COLD_CALL] = "call",     [COLD_EDGE] = "unlinked",
		[COLD_SETTLE] = "flags",
	};
	const struct translation *x = s->x;
	char guest[TEXT_BYTES], text[2 * TEXT_BYTES];

	while (at < end) {
		const struct cold *k = next_cold(x, at, end), *then;

		if (!k || begin_of(x, k) > at) {
			lines(s, "", at, k ? begin_of(x, k) : end);
			at = k ? begin_of(x, k) : end;
			continue;
		}
		then = next_cold(x, at + 1, end);
		text_of_guest(s, k->i->n, guest);
		snprintf(text, sizeof(text), "; %s: %s", kinds[k->kind], guest);
		lines(s, text, at, then ? begin_of(x, then) : end);
		at = then ? begin_of(x, then) : end;
	}
}

static void open_formatters(struct show *s)
{
	ZydisFormatterInit(&s->guest, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterInit(&s->host, ZYDIS_FORMATTER_STYLE_INTEL);
	hook(&s->host, ZYDIS_FORMATTER_FUNC_PRINT_ADDRESS_ABS, print_address, NULL);
	hook(&s->host, ZYDIS_FORMATTER_FUNC_FORMAT_OPERAND_MEM, print_memory, &s->format_memory);
}

void bt_show(const struct translation *x)
{
	struct show s = { .x = x };
	unsigned count = x->b->count;
	char text[TEXT_BYTES];

	open_formatters(&s);
	vm_trace(x->c->vcpu->vm, "translate 0x%" PRIx64 ": %u instructions, %u and %u bytes at %p",
		 x->c->r[R_RIP], count, (unsigned)(x->piece[0].end - x->piece[0].begin),
		 (unsigned)(x->piece[1].end - x->piece[1].begin), (const void *)exec_begin(x));
	lines(&s, "; entry", x->t->room->at, x->begin[0]);
	for (unsigned n = 0; n < count; n++) {
		text_of_guest(&s, n, text);
		lines(&s, text, x->begin[n], x->begin[n + 1]);
	}
	if (x->begin[count] < x->begin[count + 1])
		lines(&s, "; next", x->begin[count], x->begin[count + 1]);
	show_cold(&s, x->begin[count + 1], x->piece[0].end);
	show_cold(&s, x->piece[1].begin, x->piece[1].end);
}
