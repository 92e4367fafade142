/*
 * disks.h - the images that --disk names, opened for the machine.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_DISKS_H
#define CONTROL_DISKS_H

#include "backend/block.h"
#include "board/pc.h"
#include "control/options.h"

/* One --disk word. */
struct disk_word {
	char path[4096];
	char serial[21];            /* empty: not given */
	struct blk_options options; /* path: the one above */
};

/* FILE[,format=raw|qcow2][,readonly][,overlay][,cache=...][,aio=...][,serial=TEXT]; a comma that is
 * part of the name is doubled. -EINVAL and a sentence. */
int disk_word_parse(struct disk_word *d, const char *text, struct fail *why);

/* Can this word be a disk to boot from? -ENOENT: there is no such file; -EINVAL and a sentence: it is
 * something else. */
int disk_word_peek(const char *text, struct fail *why);

struct disks;

/* Opens them in order, into config->disk. NULL and a sentence: none is open. */
struct disks *disks_open(const struct run_options *options, struct pc_config *config,
			 struct fail *why);
/* The machine that stands still while one of the disks waits for room; NULL: none any more. */
void disks_connect(struct disks *disks, struct vm *vm);
/* What waits for room is tried again at once. Any thread; disks: struct disks. */
void disks_retry(void *disks);
/* After pc_close(). 0, or -E* and a sentence: what a disk was told last may be lost. NULL is
 * allowed. */
int disks_close(struct disks *disks, struct fail *why);

#endif
