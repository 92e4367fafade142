/*
 * engines.c - the list of engines in this build, best first.
 *
 * SPDX-License-Identifier: MIT
 */
#include "board/engines.h"

#include <stddef.h>
#include <string.h>

#include "engine/bt/engine_bt.h"
#include "engine/interp/engine_interp.h"
#include "engine/kvm/engine_kvm.h"

const struct engine_ops *const engines[] = {
	&kvm_ops,
	&bt_ops,
	&interp_ops,
	NULL,
};

const struct engine_ops *engine_find(const char *name)
{
	for (unsigned i = 0; engines[i]; i++) {
		if (strcmp(engines[i]->name, name) == 0)
			return engines[i];
	}
	return NULL;
}

const struct engine_ops *engine_auto(unsigned caps, struct fail *why)
{
	for (unsigned i = 0; engines[i]; i++) {
		if ((engines[i]->caps & caps) == caps && engines[i]->probe(why) == 0)
			return engines[i];
	}
	return NULL;
}

const struct engine_ops *engine_next(const struct engine_ops *now, unsigned caps)
{
	unsigned count = 0, at = 0;

	for (; engines[count]; count++)
		if (engines[count] == now)
			at = count;
	for (unsigned i = 1; i < count; i++) {
		const struct engine_ops *e = engines[(at + i) % count];

		if ((e->caps & caps) == caps && e->probe(NULL) == 0)
			return e;
	}
	return NULL;
}

uint64_t engines_tsc_khz(void)
{
	uint64_t khz = 0;

	for (unsigned i = 0; engines[i] && !khz; i++)
		if (engines[i]->tsc_khz)
			khz = engines[i]->tsc_khz();
	return khz;
}

bool engines_hypercalls(void)
{
	for (unsigned i = 0; engines[i]; i++)
		if (engines[i]->hypercalls && !engines[i]->hypercalls() &&
		    engines[i]->probe(NULL) == 0)
			return false;
	return true;
}
