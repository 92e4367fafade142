/*
 * integer.h - which binder answers for which mnemonic: the one list of the integer
 * instructions, from which interp_binds_integer is made.
 *
 * X(mnemonic, binder, feature): feature as in bind_row.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_INTEGER_H
#define ENGINE_INTERP_INTEGER_H

#include "engine/interp/bind.h"

#define ALWAYS      0
#define NEEDS(name) (FEATURE_##name + 1)

/* clang-format off */
#define INTEGER_CONDITIONAL(X, prefix, binder, feature) \
	X(prefix##O, binder, feature) X(prefix##NO, binder, feature) \
	X(prefix##B, binder, feature) X(prefix##NB, binder, feature) \
	X(prefix##Z, binder, feature) X(prefix##NZ, binder, feature) \
	X(prefix##BE, binder, feature) X(prefix##NBE, binder, feature) \
	X(prefix##S, binder, feature) X(prefix##NS, binder, feature) \
	X(prefix##P, binder, feature) X(prefix##NP, binder, feature) \
	X(prefix##L, binder, feature) X(prefix##NL, binder, feature) \
	X(prefix##LE, binder, feature) X(prefix##NLE, binder, feature)

/* integer.c, shift.c, muldiv.c, bcd.c, bits.c, bmi.c, move.c, swap.c, stack.c, misc.c */
#define INTEGER_BINDS(X) \
	X(ADD, bind_arithmetic, ALWAYS) X(OR, bind_arithmetic, ALWAYS) \
	X(ADC, bind_arithmetic, ALWAYS) X(SBB, bind_arithmetic, ALWAYS) \
	X(AND, bind_arithmetic, ALWAYS) X(SUB, bind_arithmetic, ALWAYS) \
	X(XOR, bind_arithmetic, ALWAYS) X(CMP, bind_arithmetic, ALWAYS) \
	X(TEST, bind_arithmetic, ALWAYS) \
	X(INC, bind_unary, ALWAYS) X(DEC, bind_unary, ALWAYS) \
	X(NEG, bind_unary, ALWAYS) X(NOT, bind_unary, ALWAYS) \
	X(ROL, bind_shift, ALWAYS) X(ROR, bind_shift, ALWAYS) \
	X(RCL, bind_shift, ALWAYS) X(RCR, bind_shift, ALWAYS) \
	X(SHL, bind_shift, ALWAYS) X(SHR, bind_shift, ALWAYS) X(SAR, bind_shift, ALWAYS) \
	X(SHLD, bind_shift_double, ALWAYS) X(SHRD, bind_shift_double, ALWAYS) \
	X(MUL, bind_mul, ALWAYS) X(IMUL, bind_imul, ALWAYS) \
	X(DIV, bind_div, ALWAYS) X(IDIV, bind_div, ALWAYS) \
	X(AAA, bind_bcd, ALWAYS) X(AAS, bind_bcd, ALWAYS) X(DAA, bind_bcd, ALWAYS) \
	X(DAS, bind_bcd, ALWAYS) X(AAM, bind_bcd, ALWAYS) X(AAD, bind_bcd, ALWAYS) \
	X(BT, bind_bit_test, ALWAYS) X(BTS, bind_bit_test, ALWAYS) \
	X(BTR, bind_bit_test, ALWAYS) X(BTC, bind_bit_test, ALWAYS) \
	X(BSF, bind_bit_scan, ALWAYS) X(BSR, bind_bit_scan, ALWAYS) \
	X(TZCNT, bind_bit_scan, NEEDS(BMI1)) X(LZCNT, bind_bit_scan, NEEDS(ABM)) \
	X(POPCNT, bind_bit_scan, NEEDS(POPCNT)) \
	X(CRC32, bind_crc32, NEEDS(SSE4_2)) \
	X(ADCX, bind_adx, NEEDS(ADX)) X(ADOX, bind_adx, NEEDS(ADX)) \
	X(ANDN, bind_bmi_three, NEEDS(BMI1)) X(BEXTR, bind_bmi_three, NEEDS(BMI1)) \
	X(BLSI, bind_bmi_two, NEEDS(BMI1)) X(BLSMSK, bind_bmi_two, NEEDS(BMI1)) \
	X(BLSR, bind_bmi_two, NEEDS(BMI1)) \
	X(BZHI, bind_bmi_three, NEEDS(BMI2)) X(PDEP, bind_bmi_three, NEEDS(BMI2)) \
	X(PEXT, bind_bmi_three, NEEDS(BMI2)) X(MULX, bind_mulx, NEEDS(BMI2)) \
	X(RORX, bind_bmi_two, NEEDS(BMI2)) X(SARX, bind_bmi_three, NEEDS(BMI2)) \
	X(SHLX, bind_bmi_three, NEEDS(BMI2)) X(SHRX, bind_bmi_three, NEEDS(BMI2)) \
	X(MOV, bind_mov, ALWAYS) X(MOVZX, bind_extend, ALWAYS) X(MOVSX, bind_extend, ALWAYS) \
	X(MOVSXD, bind_extend, ALWAYS) X(LEA, bind_lea, ALWAYS) X(MOVNTI, bind_mov, NEEDS(SSE2)) \
	X(MOVBE, bind_movbe, NEEDS(MOVBE)) X(BSWAP, bind_bswap, ALWAYS) X(XLAT, bind_xlat, ALWAYS) \
	X(CBW, bind_widen, ALWAYS) X(CWDE, bind_widen, ALWAYS) X(CDQE, bind_widen, ALWAYS) \
	X(CWD, bind_widen, ALWAYS) X(CDQ, bind_widen, ALWAYS) X(CQO, bind_widen, ALWAYS) \
	INTEGER_CONDITIONAL(X, CMOV, bind_cmov, NEEDS(CMOV)) \
	INTEGER_CONDITIONAL(X, SET, bind_set, ALWAYS) \
	X(XCHG, bind_xchg, ALWAYS) X(XADD, bind_xadd, ALWAYS) X(CMPXCHG, bind_cmpxchg, ALWAYS) \
	X(CMPXCHG8B, bind_cmpxchg_pair, NEEDS(CX8)) \
	X(CMPXCHG16B, bind_cmpxchg_pair, NEEDS(CX16)) \
	X(PUSH, bind_push, ALWAYS) X(POP, bind_pop, ALWAYS) \
	X(PUSHA, bind_push_all, ALWAYS) X(PUSHAD, bind_push_all, ALWAYS) \
	X(POPA, bind_pop_all, ALWAYS) X(POPAD, bind_pop_all, ALWAYS) \
	X(ENTER, bind_enter, ALWAYS) X(LEAVE, bind_leave, ALWAYS) \
	X(LAHF, bind_flag_byte, ALWAYS) X(SAHF, bind_flag_byte, ALWAYS) \
	X(CLC, bind_flag, ALWAYS) X(STC, bind_flag, ALWAYS) X(CMC, bind_flag, ALWAYS) \
	X(CLD, bind_flag, ALWAYS) X(STD, bind_flag, ALWAYS) X(SALC, bind_flag, ALWAYS) \
	X(NOP, bind_nop, ALWAYS) X(PAUSE, bind_pause, ALWAYS) \
	X(ENDBR32, bind_nop, ALWAYS) X(ENDBR64, bind_nop, ALWAYS) \
	X(RDSSPD, bind_nop, ALWAYS) X(RDSSPQ, bind_nop, ALWAYS) X(CLDEMOTE, bind_nop, ALWAYS) \
	X(PREFETCH, bind_nop, ALWAYS) X(PREFETCHW, bind_nop, ALWAYS) \
	X(PREFETCHWT1, bind_nop, ALWAYS) X(PREFETCHNTA, bind_nop, ALWAYS) \
	X(PREFETCHT0, bind_nop, ALWAYS) X(PREFETCHT1, bind_nop, ALWAYS) \
	X(PREFETCHT2, bind_nop, ALWAYS) \
	X(LFENCE, bind_fence, NEEDS(SSE2)) X(SFENCE, bind_fence, NEEDS(SSE)) \
	X(MFENCE, bind_fence, NEEDS(SSE2)) \
	X(CLFLUSH, bind_flush_line, NEEDS(CLFSH)) X(CLFLUSHOPT, bind_flush_line, NEEDS(CLFLUSHOPT)) \
	X(CLWB, bind_flush_line, NEEDS(CLWB)) \
	X(UD0, bind_undefined, ALWAYS) X(UD1, bind_undefined, ALWAYS) \
	X(UD2, bind_undefined, ALWAYS) X(BOUND, bind_bound, ALWAYS) \
	X(RDRAND, bind_random, NEEDS(RDRAND)) X(RDSEED, bind_random, NEEDS(RDSEED)) \
	X(RDPID, bind_rdpid, NEEDS(RDPID))
/* clang-format on */

#define X(mnemonic, binder, feature) bool binder(const struct decoding *d, struct insn *i);
INTEGER_BINDS(X)
#undef X

#endif
