/*
 * decode.h - guest bytes to one struct insn.
 *
 * Pure: depends on the bytes, the mode and the CPU model only, so what it makes may be
 * cached under those keys. Undecodable bytes give an instruction too, one whose handler
 * raises the fault.
 *
 * Tested by test/unit/decode.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_INTERP_DECODE_H
#define ENGINE_INTERP_DECODE_H

#include "engine/interp/interp.h"

/* The decode key. Real mode (and v86) lacks some encodings that 16-bit protected mode has. */
enum decode_mode { DECODE_REAL16, DECODE_16, DECODE_32, DECODE_64, DECODE_MODES };

#define INSN_BYTES_MAX 15

struct decoder;

/* One for each vCPU. Model NULL: has every feature. NULL: no memory. */
struct decoder *decoder_new(const struct cpu_model *model);
void decoder_free(struct decoder *d);

/*
 * Decodes the instruction that begins at bytes[0]; it lies `at` bytes into its block. `c` is
 * handed to the binders and may be NULL. true: *i is ready to run. false: it goes on
 * after the `count` bytes given (count < INSN_BYTES_MAX).
 */
bool decode_insn(struct decoder *d, struct interp *c, enum decode_mode mode, const uint8_t *bytes,
		 unsigned count, int at, struct insn *i);

/* Is it a JMP to an address relative to it (imm)? */
bool insn_is_jump(const struct insn *i);

/* Handlers of things that are not instructions. */
enum step op_invalid(struct interp *c, const struct insn *i); /* #UD */
enum step op_stale(struct interp *c, const struct insn *i);   /* STEP_STALE */
enum step op_end(struct interp *c, const struct insn *i);     /* STEP_END */

#endif
