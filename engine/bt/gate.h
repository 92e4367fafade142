/*
 * gate.h - subroutines in place of the handlers of SYSCALL, SYSRET and RDTSC (see gate.c).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_BT_GATE_H
#define ENGINE_BT_GATE_H

#include "engine/bt/code.h"

struct bt;
struct interp;
struct translation;

/* After one of the MSRs may have changed: whoever changes them clears x.gate_ok. */
void bt_gate_make(struct interp *c);
/* bt_slow() of a SYSCALL or SYSRET. */
int bt_gate_slow(struct interp *c, uint32_t name);

/* The stubs: write addresses. */
const uint8_t *bt_put_syscall(struct bt *t, struct code *e);
const uint8_t *bt_put_sysret(struct bt *t, struct code *e);
const uint8_t *bt_put_tsc(struct bt *t, struct code *e);

/* Emit the instruction; false: it is another, or its handler has to do it. */
bool bt_gate(struct translation *x); /* ends the block */
bool bt_tsc(struct translation *x);

#endif
