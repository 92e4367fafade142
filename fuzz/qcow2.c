/*
 * qcow2.c - fuzzes disk images: a hostile file is opened, read, written, committed and checked.
 *
 * The first byte chooses what the file is: all of the input, or a good image with some of its bytes
 * changed (three input bytes each: where, where, what), which reaches deeper. Then follow requests.
 * Nothing may crash, hang or leak; every answer is right for some image.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "backend/qcow2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DISK_BYTES (96u << 10)
#define GOOD_MOST  65536u

static uint8_t good[GOOD_MOST];
static size_t good_bytes;

static struct image *open_file(int fd, bool writable, bool for_check)
{
	char path[64];
	struct image_options o = { .path = path,
				   .writable = writable,
				   .unsafe = true,
				   .no_lock = true,
				   .for_check = for_check };
	struct fail why = { 0, "" };
	struct image *image;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	image = image_open(&o, &why);
	if (!image && (!why.text[0] || why.code >= 0))
		abort(); /* a failure has a sentence and a code */
	return image;
}

/* An image with data, compressed data, zeroes, and holes between. */
static void make_good(void)
{
	struct qcow2_shape shape = { .bytes = DISK_BYTES, .cluster_bits = 9 };
	static uint8_t some[4096];
	int fd = memfd_create("good", 0);
	struct image *image;
	uint64_t done;

	memset(some, 'x', sizeof(some));
	if (qcow2_create(fd, &shape, NULL))
		abort();
	image = open_file(fd, true, false);
	image_write(image, 1024, some, 4096);
	image_write(image, 60000 / 512 * 512, some, 2048);
	image->ops->erase(image, 1536, 512, ERASE_ZERO, &done);
	image->ops->erase(image, 20480, 1024, ERASE_ZERO_FREE, &done);
	for (unsigned i = 0; i < 6; i++)
		qcow2_write_packed(image, 8192 + i * 512, some);
	image_settle(image);
	image_close(image);
	good_bytes = (size_t)pread(fd, good, sizeof(good), 0);
	close(fd);
}

static int make_file(const uint8_t **data, size_t *size)
{
	int fd = memfd_create("image", 0);
	bool whole = (*data)[0] & 1;
	unsigned changes = (*data)[0] >> 1 & 15;

	++*data;
	--*size;
	if (whole) {
		file_write(fd, 0, *data, *size);
		return fd;
	}
	file_write(fd, 0, good, good_bytes);
	for (; changes > 0 && *size >= 3; changes--, *data += 3, *size -= 3)
		file_write(fd, ((uint64_t)(*data)[0] << 8 | (*data)[1]) % good_bytes, *data + 2, 1);
	return fd;
}

static void one_request(struct image *image, const uint8_t *r)
{
	static uint8_t buffer[8192];
	uint64_t bytes = (1 + (r[3] & 15)) * UINT64_C(512), done, where;

	where = (uint64_t)(r[1] << 8 | r[2]) * 512;
	if (image->bytes == 0)
		return;
	where %= image->bytes;
	if (bytes > image->bytes - where)
		bytes = image->bytes - where;
	switch (r[0] % 6) {
	case 0:
	case 1: image_read(image, where, buffer, bytes); break;
	case 2:
		if (image->writable)
			image_write(image, where, buffer, bytes);
		break;
	case 3:
	case 4:
		where &= ~(uint64_t)(image->cluster ? image->cluster - 1 : 0);
		if (image->writable && image->ops->erase)
			image->ops->erase(image, where,
					  image->bytes - where < image->cluster
						  ? image->bytes - where
						  : image->cluster,
					  (enum erase)(r[3] % 3), &done);
		break;
	case 5:
		if (image->writable)
			image_flush(image);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qcow2_findings f;
	struct fail why;
	struct image *image;
	int fd;

	if (good_bytes == 0)
		make_good();
	if (size < 2)
		return 0;
	fd = make_file(&data, &size);
	image = open_file(fd, true, false);
	if (!image)
		image = open_file(fd, false, true);
	for (; image && size >= 4; data += 4, size -= 4)
		one_request(image, data);
	if (image && image->writable)
		image_settle(image);
	image_close(image);
	image = open_file(fd, true, true);
	if (image && strcmp(image->ops->name, "qcow2") == 0)
		qcow2_check(image, "image", true, &f, &why);
	image_close(image);
	close(fd);
	return 0;
}
