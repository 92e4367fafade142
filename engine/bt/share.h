/*
 * share.h - translations that several vCPUs have in common.
 *
 * The idea: code memory is mapped once for each vCPU, and before each mapping, at the same
 * distance, lies that vCPU's data: its cells. Code finds its data by RIP, struct interp by GS, so
 * the same bytes serve all vCPUs, each with its own cells. A vCPU's decoded blocks stay its own;
 * what is translated is a copy of one, the shared block, which names the instructions for handlers.
 * A block with a shared one of the same key adopts its code.
 *
 * Whoever adds - translates, links - holds the room's lock, which is only ever tried: who does not
 * get it interprets once more. It does so inside the gate (machine/gate.h), and all that it changes
 * can be read meanwhile. Whatever takes away - a written page, an eviction, another target for a
 * jump - is done with the gate closed.
 *
 * With one vCPU nothing is shared: the translated block is the vCPU's own, and there is no lock.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_SHARE_H
#define ENGINE_BT_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;
struct bt;
struct insn;
struct interp;

/* A page with shared blocks. */
struct bt_page {
	const uint8_t *host;
	uint64_t covered; /* bit n: a block has some of the bytes from 64 * n on */
	struct block *first;
	struct bt_page *chain;
};

#define BT_LEARNT 512u
struct bt_learnt { /* about an instruction, see bt_share_again() */
	uint64_t key;
	uint8_t flags;
};

#define BT_FROZEN_ROOM (UINT64_C(4) << 10)   /* more than any shared block takes */
#define BT_FROZEN_MOST (UINT64_C(120) << 20) /* names reach so far, see bt_name() */

/* After t->room's sizes are known. May follow a failed open(). */
int bt_share_open(struct bt *t, struct interp *c);
bool bt_share_close(struct bt *t); /* was it the last one's? */

/* Always true with one vCPU. */
bool bt_share_lock(struct bt *t);
void bt_share_unlock(struct bt *t);

/* Lock held: what is to be translated for `b`, and that it was. `native`: executable address. */
struct block *bt_share_copy(struct bt *t, struct block *b);
void bt_share_add(struct bt *t, struct interp *c, struct block *b, struct block *shared);
/* b->native is what somebody made of the same code, for the CPU as it is. false: nobody did. */
bool bt_share_adopt(struct bt *t, const struct interp *c, struct block *b);

/* Gate closed: the shared block's translation is no more. */
void bt_share_drop(struct bt *t, struct block *shared);
/* The block of instruction i is to be translated anew, and whoever translates the instruction, in
 * whatever block, gives it `flag`: which is advice, and may be forgotten. Inside the gate, which it
 * closes. */
void bt_share_again(struct bt *t, struct interp *c, const struct insn *i, uint8_t flag);
/* Lock held: b's instructions get the flags that are known of them. */
void bt_share_learnt(struct bt *t, struct block *b);
/* Is some vCPU in the midst of an instruction at [from, to), of names? Gate closed. */
bool bt_share_in_use(const struct bt *t, size_t from, size_t to);

extern const struct code_share bt_share;

#endif
