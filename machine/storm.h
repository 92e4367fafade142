/*
 * storm.h - a vCPU that takes one event after the other and retires nothing.
 *
 * The idea: a handler whose first instruction faults, each time, without ever coming to a triple
 * fault, keeps a processor busy for ever, and it goes on being one that others can interrupt. Time
 * that is counted in retired instructions would stand still meanwhile. So after every STORM_EVENTS
 * events in a row the engine comes out, and these take as much of counted time and of the turn
 * as so many instructions do. Only events count: counted runs are the same on every engine, and
 * where such a row stands is state.
 *
 * Not modelled: KVM counts none; it comes out for whoever asks.
 *
 * Tested by test/unit/storm.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef MACHINE_STORM_H
#define MACHINE_STORM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vm;
struct vcpu;

#define STORM_EVENTS 1000

struct storm {
	uint64_t at;     /* instructions retired when the last event was delivered, */
	uint64_t events; /* and how many were since that count was reached */
	bool due;        /* they are a multiple of STORM_EVENTS, and nobody has looked yet */
	atomic_bool on;  /* others' view: they are STORM_EVENTS at least */
};

/* An exception or interrupt was delivered, after `retired` instructions: an engine's part, whose
 * run() ends with EXIT_KICK before the next one while `due` is set. vCPU thread. */
static inline void storm_event(struct storm *s, uint64_t retired)
{
	s->events = s->at == retired ? s->events + 1 : 1;
	s->at = retired;
	if (__builtin_expect(s->events % STORM_EVENTS == 0, 0))
		s->due = true;
}

/* The engine came out; returns as how many instructions of its turn the events count. Ends the run
 * of vm->storm_ends (VM_STORM) if no other vCPU gets on either: each is in a storm or idle, and
 * nothing that would wake it is to come. vCPU thread. */
uint64_t storm_look(struct vcpu *vcpu);

/* Events since the last retired instruction, as saved; and a loaded vCPU's. */
uint64_t storm_events(const struct vcpu *vcpu);
void storm_set(struct vcpu *vcpu, uint64_t events);

#endif
