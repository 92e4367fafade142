/*
 * image_look.c - `trapeze image info` and `check`.
 *
 * Info takes no lock: it is asked of images in use, and what it says is in the header. Check takes
 * one, since the tables of an image in use change while they are read.
 *
 * Tested by test/api/image.
 * SPDX-License-Identifier: MIT
 */
#include "control/image.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"

static bool is_qcow2(const struct image *image)
{
	return strcmp(image->ops->name, "qcow2") == 0;
}

static json_t *describe(struct image *image)
{
	json_t *j = json_object();
	struct stat st = { .st_blocks = 0 };
	const struct qcow2 *q = qcow2_of(image);
	const char *format, *backing = qcow2_backing(image, &format);

	fstat(image->fd, &st);
	json_object_set_new(j, "file", json_string(image->path));
	json_object_set_new(j, "format", json_string(image->ops->name));
	json_object_set_new(j, "virtual_bytes", json_integer((json_int_t)image->bytes));
	json_object_set_new(j, "host_bytes", json_integer((json_int_t)st.st_blocks * 512));
	if (!is_qcow2(image))
		return j;
	json_object_set_new(j, "version", json_integer(q->version));
	json_object_set_new(j, "cluster_bytes", json_integer((json_int_t)q->cluster));
	json_object_set_new(j, "refcount_bits", json_integer(1 << q->refcount_order));
	json_object_set_new(j, "compression", json_string(q->compression ? "zstd" : "zlib"));
	json_object_set_new(j, "snapshots", json_integer(q->snapshots));
	json_object_set_new(j, "bitmaps", json_integer(q->bitmaps));
	json_object_set_new(j, "extended_l2", json_boolean(q->extended));
	json_object_set_new(j, "lazy_refcounts", json_boolean(q->compatible & COMPATIBLE_LAZY));
	json_object_set_new(j, "dirty", json_boolean(q->incompatible & INCOMPATIBLE_DIRTY));
	json_object_set_new(j, "corrupt", json_boolean(q->incompatible & INCOMPATIBLE_CORRUPT));
	if (backing)
		json_object_set_new(j, "backing_file", json_string(backing));
	if (backing && format)
		json_object_set_new(j, "backing_format", json_string(format));
	return j;
}

/* One line a fact; what is usual and false is left out. */
static void print_plain(json_t *j)
{
	const char *key;
	json_t *value;

	json_object_foreach(j, key, value)
	{
		size_t n = strlen(key);
		char size[32], label[32];

		snprintf(label, sizeof(label), "%s:", key);
		for (char *p = label; *p; p++)
			*p = *p == '_' ? ' ' : *p;
		if (n > 6 && strcmp(key + n - 6, "_bytes") == 0)
			printf("%-16s %s (%lld bytes)\n", label,
			       image_size_text((uint64_t)json_integer_value(value), size),
			       (long long)json_integer_value(value));
		else if (json_is_string(value))
			printf("%-16s %s\n", label, json_string_value(value));
		else if (json_is_integer(value) && json_integer_value(value))
			printf("%-16s %lld\n", label, (long long)json_integer_value(value));
		else if (json_is_true(value))
			printf("%-16s yes\n", label);
	}
}

int image_info(const struct image_words *w, struct fail *why)
{
	struct image_options o = {
		.path = w->names[0], .alone = true, .no_lock = true, .for_check = true
	};
	struct image *image = image_open(&o, why);
	json_t *j;

	if (!image)
		return why->code;
	j = describe(image);
	if (w->json) {
		json_dumpf(j, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		print_plain(j);
	}
	json_decref(j);
	image_close(image);
	return 0;
}

static void print_findings(const char *path, const struct qcow2_findings *f)
{
	printf("%s: %llu of %llu clusters allocated, %llu of them compressed; %llu read as zero\n",
	       path, (unsigned long long)f->allocated, (unsigned long long)f->clusters,
	       (unsigned long long)f->packed, (unsigned long long)f->zero);
	if (f->bitmaps)
		printf("%s: holds dirty bitmaps, whose clusters look like leaks here\n", path);
	if (f->leaks)
		printf("%s: %llu clusters leaked: no data is lost, only space\n", path,
		       (unsigned long long)f->leaks);
	if (f->errors)
		printf("%s: %llu errors, the first: %s\n", path, (unsigned long long)f->errors,
		       f->first);
	if (!f->errors && !f->leaks)
		printf("%s: nothing is wrong\n", path);
}

/* Nothing is wrong any more: the marks that say so go. */
static int clear_marks(struct image *image, struct fail *why)
{
	struct qcow2 *q = qcow2_of(image);
	uint8_t features[8];
	int err;

	if (!(q->incompatible & (INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT)))
		return 0;
	put64(features, q->incompatible & ~(INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT));
	err = file_write(image->fd, H_INCOMPATIBLE_FEATURES, features, 8);
	if (!err)
		err = file_sync(image->fd);
	return err ? fail(why, err, "%s: %s", image->path, strerror(-err)) : 0;
}

static int check_qcow2(const struct image_words *w, struct image *image, struct fail *why)
{
	struct qcow2_findings f, after;
	int err = qcow2_check(image, image->path, w->repair, &f, why);

	if (err)
		return err;
	print_findings(image->path, &f);
	if (w->repair && f.errors + f.leaks > 0) {
		err = qcow2_check(image, image->path, false, &after, why);
		if (err)
			return err;
		printf("%s: %llu corrected, %llu left\n", image->path, (unsigned long long)f.fixed,
		       (unsigned long long)(after.errors + after.leaks));
		f = after;
	}
	if (w->repair && !f.errors && clear_marks(image, why))
		return why->code;
	return f.errors ? 1 : f.leaks && !f.bitmaps ? 3 : 0;
}

int image_check(const struct image_words *w, struct fail *why)
{
	struct image_options o = {
		.path = w->names[0], .alone = true, .for_check = true, .writable = w->repair
	};
	struct image *image = image_open(&o, why);
	int status = 0;

	if (!image)
		return why->code;
	if (is_qcow2(image))
		status = check_qcow2(w, image, why);
	else
		printf("%s: a raw image has no tables that could be wrong\n", w->names[0]);
	image_close(image);
	return status;
}
