/*
 * flat.c - a binary without a header, at an address the user states.
 *
 * The whole of RAM is its own: nothing else is written, not even a BIOS data area.
 * Below 1 MiB it starts as a BIOS starts a boot sector; above, in flat 32-bit mode
 * (which takes a page for the GDT, outside the binary).
 *
 * Spec: none; the rule is in boot.h. Tested by test/unit/flat.c.
 * SPDX-License-Identifier: MIT
 */
#include "boot/loader.h"

#include <errno.h>

int flat_load(struct boot_job *job, struct fail *why)
{
	const struct boot_file *f = &job->kernel;
	uint64_t at = job->config->flat_at;

	if (at >= MAP_HIGH)
		return fail(why, -EINVAL, "%s: a flat binary is entered below 4 GiB, not at 0x%llx",
			    f->name, (unsigned long long)at);
	if (at < MAP_EXTENDED) {
		job->space.count = 0; /* real mode: also the first page is the binary's to take */
		entry_real(job->state, at);
		return boot_place(job, at, f->bytes, f->size, f->size, why);
	}
	int r = boot_place(job, at, f->bytes, f->size, f->size, why);
	return r ? r : entry_protected(job, at, why);
}
