/*
 * bt_lock.c - what the guest's processor does as one access to memory, the host's does: every LOCK
 * form, and XCHG, is in translated code as the same instruction on guest memory. (Left to handlers:
 * CH beside memory, and bit strings of words.)
 *
 * SPDX-License-Identifier: MIT
 */
#include "engine/bt/bt.h"
#include "engine/bt/engine_bt.h"
#include "test/unit/interp_guest.h"

#define OPERAND 0x100000 /* where RBX points */

/* clang-format off */
/* With a register of each size, with registers that translated code has elsewhere, and with
 * immediates. */
#define SIZES(X, op) \
	X(op " byte ptr [rbx], dl") X(op " word ptr [rbx], dx") \
	X(op " dword ptr [rbx], edx") X(op " qword ptr [rbx], rdx") \
	X(op " qword ptr [rbx + rcx * 8 + 64], r9") X(op " dword ptr [rbx - 4], r10d") \
	X(op " word ptr [rbx], r11w") X(op " byte ptr [rbx], cl") \
	X(op " qword ptr [rbx], rsp") X(op " qword ptr gs:[rbx], r15") \
	X(op " byte ptr [rbx], dh") X(op " dword ptr [ebx], eax") X(op " byte ptr [rbx], r10b")
#define IMMEDIATES(X, op) \
	SIZES(X, op) X(op " byte ptr [rbx], 3") X(op " word ptr [rbx], 0x1234") \
	X(op " dword ptr [rbx], -1") X(op " qword ptr [rbx], 0x12345678") X(op " qword ptr [rip + 0x10000], 1")
#define ONE(X, op) \
	X(op " byte ptr [rbx]") X(op " word ptr [rbx]") X(op " dword ptr [rbx + 64]") \
	X(op " qword ptr [rbx]") X(op " qword ptr [r10]") X(op " dword ptr [r9 + r10]") X(op " qword ptr [rsp]")
#define BITS(X, op) \
	X(op " word ptr [rbx], 5") X(op " dword ptr [rbx], 5") X(op " qword ptr [rbx], 63") \
	X(op " dword ptr [rbx], edx") X(op " qword ptr [rbx], rdx") X(op " qword ptr [rbx], rcx") \
	X(op " dword ptr [rbx], r9d") X(op " qword ptr [rbx], r10")
#define FORMS(X) \
	IMMEDIATES(X, "lock add") IMMEDIATES(X, "lock or") IMMEDIATES(X, "lock adc") \
	IMMEDIATES(X, "lock sbb") IMMEDIATES(X, "lock and") IMMEDIATES(X, "lock sub") \
	IMMEDIATES(X, "lock xor") ONE(X, "lock inc") ONE(X, "lock dec") ONE(X, "lock neg") \
	ONE(X, "lock not") BITS(X, "lock bts") BITS(X, "lock btr") BITS(X, "lock btc") \
	SIZES(X, "lock xadd") SIZES(X, "lock cmpxchg") SIZES(X, "xchg") \
	SIZES(X, "lock xchg") X("lock cmpxchg8b [rbx]") X("lock cmpxchg16b [rbx]") \
	X("lock cmpxchg16b [r9 + r10]")
/* clang-format on */

/* One after the other, with a label before each. */
#define X(form) form "\n2: .pushsection .data.lock\n.quad 1b, 2b\n.popsection\n1: "
__asm__(".pushsection .data.lock, \"aw\"\nlock_code:\n.popsection\n"
	".pushsection .rodata\n.intel_syntax noprefix\n1: " FORMS(X) ".att_syntax\n.popsection\n");
#undef X
extern const uint8_t *const lock_code[][2];
#define X(form) form,
static const char *const forms[] = { FORMS(X) };
#undef X

static void set_registers(uint64_t *r)
{
	for (unsigned n = 0; n < GPR_COUNT; n++)
		r[n] = n;
	r[RBX] = r[RSP] = r[R10] = OPERAND;
	r[R9] = 0;
}

static void set_form(struct guest *g, unsigned n)
{
	struct x86_state s = guest_state64(0, GUEST_CODE);
	size_t bytes = (size_t)(lock_code[n][1] - lock_code[n][0]);

	memcpy(g->ram + GUEST_CODE, lock_code[n][0], bytes);
	g->ram[GUEST_CODE + bytes] = 0xf4;
	set_registers(s.gpr);
	interp_ops.forget(g->vcpu);
	guest_set(g, &s);
}

/* It once more. The TLB has the page now. */
static void again(struct guest *g)
{
	set_registers(g->c->r);
	g->c->r[R_RIP] = GUEST_CODE;
	assert_int_equal(guest_run(g, 2), EXIT_HLT);
}

/* Is `zi` that instruction on memory, by a translation's address, and as one access? */
static bool is_locked(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op,
		      ZydisMnemonic mnemonic)
{
	bool locked = zi->mnemonic == ZYDIS_MNEMONIC_XCHG || zi->attributes & ZYDIS_ATTRIB_HAS_LOCK;

	for (unsigned n = 0; n < zi->operand_count_visible; n++)
		if (op[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (op[n].mem.base == ZYDIS_REGISTER_R11 || op[n].mem.base == ZYDIS_REGISTER_RCX))
			return locked && zi->mnemonic == mnemonic;
	return false;
}

/* How often a block's code has the guest's instruction. */
static unsigned count_locked(const struct bt *t, const struct block *b, ZydisMnemonic mnemonic)
{
	const uint8_t *at = bt_data(t, b->native);
	const uint8_t *end = at - sizeof(struct bt_head) + bt_head(t, b->native)->bytes;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction zi;
	unsigned count = 0;

	for (; end - at > 15; at += zi.length) { /* less than that is alignment */
		if (ZYAN_FAILED(ZydisDecoderDecodeFull(&t->zydis, at, (size_t)(end - at), &zi, op)))
			break;
		count += is_locked(&zi, op, mnemonic);
	}
	return count;
}

static void test_locked_by_the_host(void **state)
{
	struct guest g =
		guest_open_on(&bt_ops, true, (struct engine_options){ .torture = TORTURE(HOT) });
	const struct bt *t = g.c->executor;
	unsigned wrong = 0;

	(void)state;
	guest_tables(&g);
	for (unsigned n = 0; n < sizeof(forms) / sizeof(forms[0]); n++) {
		const struct block *b;
		ZydisDecodedInstruction zi;
		uint64_t handled;

		set_form(&g, n);
		assert_true(ZYAN_SUCCESS(
			ZydisDecoderDecodeInstruction(&t->zydis, NULL, lock_code[n][0], 15, &zi)));
		assert_int_equal(guest_run(&g, 2), EXIT_HLT);
		handled = t->slows;
		again(&g);
		b = cache_find(g.c->cache, g.ram + GUEST_CODE, DECODE_64);
		assert_non_null(b);
		if (b->native && count_locked(t, b, zi.mnemonic) == 1 &&
		    t->slows - handled == 1 /* HLT */)
			continue;
		print_error("%s: handlers called: %u\n", forms[n], (unsigned)(t->slows - handled));
		wrong++;
	}
	assert_int_equal(wrong, 0);
	guest_close(&g);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locked_by_the_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
