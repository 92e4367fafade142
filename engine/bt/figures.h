/*
 * figures.h - what engine bt counts, beside a few members of struct bt, for --stats.
 *
 * Handlers that translated code calls are counted by mnemonic. An instruction carries its mnemonic
 * as a tag of one byte (struct insn): a number that the mnemonic got when the first of
 * its kind was translated. Tag 0 is that of every mnemonic which came too late for one of 255.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_FIGURES_H
#define ENGINE_BT_FIGURES_H

#include <Zydis/Zydis.h>
#include <stdint.h>

#include "engine/interp/interp.h"

#define BT_TAGS 256u
#define BT_TOP  20u /* mnemonics that are told, those with the most calls */

struct bt_figures {
	uint64_t bytes;               /* of host code, the cold parts too */
	uint64_t traces, trace_bytes; /* blocks that go on where a JMP leads, and their host code */
	uint64_t instructions; /* retired in translated code, or by a handler that it called */
	uint64_t steps[STEP_END + 1]; /* ways out by what a handler said */
	uint64_t slow[BT_TAGS];       /* calls of handlers */
	uint64_t adopted;             /* blocks that another vCPU had translated */
};

struct bt_tags {
	uint16_t mnemonic[BT_TAGS];
	uint8_t tag[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	unsigned tags; /* given out, tag 0 not counted */
};

uint8_t bt_tag(struct bt_tags *f, ZydisMnemonic m);
/* Of struct engine_ops. */
void bt_figures(const struct vcpu *vcpu, figure_fn tell, void *arg);

#endif
