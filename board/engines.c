/*
 * engines.c - the list of engines in this build, best first.
 *
 * SPDX-License-Identifier: MIT
 */
#include "board/engines.h"

#include <stddef.h>
#include <string.h>

#include "engine/interp/engine_interp.h"

const struct engine_ops *const engines[] = {
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

const struct engine_ops *engine_auto(struct fail *why)
{
	for (unsigned i = 0; engines[i]; i++) {
		if (engines[i]->probe(why) == 0)
			return engines[i];
	}
	return NULL;
}
