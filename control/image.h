/*
 * image.h - the verbs of `trapeze image`, and what they share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_IMAGE_H
#define CONTROL_IMAGE_H

#include <stdio.h>

#include "backend/block_image.h"

struct image_words {
	const char *names[2]; /* what is no option */
	unsigned count;
	enum blk_format format; /* BLK_PROBE: not given */
	const char *backing;
	const char *compress; /* NULL, "zlib", "zstd" */
	uint64_t cluster;     /* bytes; 0: not given */
	bool force, json, quiet, repair;
};

/* Each prints its answer and returns the exit status; a failure's sentence is in *why (status 1).
 */
int image_create(const struct image_words *w, struct fail *why);
int image_info(const struct image_words *w, struct fail *why);
int image_check(const struct image_words *w, struct fail *why);
int image_convert(const struct image_words *w, struct fail *why);

/* "1.5 GiB" */
const char *image_size_text(uint64_t bytes, char text[32]);
void image_help(FILE *to);
/* For the shell completion: the verbs, or one verb's options, a line each. */
void image_list(FILE *to, const char *verb);

#endif
