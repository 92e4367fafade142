/*
 * qcow2.c - tests qcow2 images against QEMU's tools: what they write we read, what we write they
 * read and find nothing wrong with.
 *
 * SPDX-License-Identifier: MIT
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>

#include "backend/qcow2.h"
#include "test/unit/disk_model.h"

#define DISK_BYTES (5u << 20)

/* What `qemu-img create -o` takes. */
static const char *const shapes[] = {
	"cluster_size=64k",
	"cluster_size=512",
	"cluster_size=512,refcount_bits=64",
	"cluster_size=4k,refcount_bits=1",
	"cluster_size=1k,refcount_bits=2",
	"cluster_size=2k,refcount_bits=4",
	"cluster_size=4k,refcount_bits=8",
	"cluster_size=8k,refcount_bits=32",
	"cluster_size=2M",
	"cluster_size=4k,compat=0.10",
	"cluster_size=16k,lazy_refcounts=on",
	"cluster_size=32k,preallocation=metadata",
	"cluster_size=64k,compression_type=zstd",
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static struct blk *open_disk(struct blk_options o, const char *name)
{
	struct fail why = { 0, "" };
	struct blk *blk;

	o.path = model_path(name);
	blk = blk_open(&o, &why);
	if (!blk)
		print_message("%s\n", why.text);
	assert_non_null(blk);
	return blk;
}

static void refused(struct blk_options o, const char *name, const char *text)
{
	struct fail why = { 0, "" };

	o.path = model_path(name);
	assert_null(blk_open(&o, &why));
	if (!strstr(why.text, text))
		print_message("'%s' does not say '%s'\n", why.text, text);
	assert_non_null(strstr(why.text, text));
}

static void make(const char *name, const char *shape)
{
	assert_int_equal(model_shell("rm -f %s; qemu-img create -q -f qcow2 -o %s %s %u", name,
				     shape, name, DISK_BYTES),
			 0);
}

/* A raw file with something in most places: text that compresses, noise, zeroes. */
static void make_source(const char *name)
{
	int fd = open(model_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600);
	static uint8_t piece[65536];

	assert_true(fd >= 0);
	for (unsigned i = 0; i < DISK_BYTES / sizeof(piece); i++) {
		for (unsigned b = 0; b < sizeof(piece); b++)
			piece[b] = i % 4 == 0   ? 0
				   : i % 4 == 1 ? (uint8_t)model_random(256)
						: (uint8_t)("compressible"[b % 12] + i);
		assert_int_equal(pwrite(fd, piece, sizeof(piece), (off_t)i * (off_t)sizeof(piece)),
				 sizeof(piece));
	}
	close(fd);
}

/* The image has these contents, as QEMU sees them, and nothing is wrong with it. */
static void same_for_qemu(const char *name, const struct model *m)
{
	uint8_t *raw = malloc(m->bytes);
	int fd;

	assert_non_null(raw);
	assert_int_equal(model_shell("qemu-img check -q %s", name), 0);
	assert_int_equal(model_shell("rm -f out.raw; qemu-img convert -O raw %s out.raw", name), 0);
	fd = open(model_path("out.raw"), O_RDONLY);
	assert_int_equal(read(fd, raw, m->bytes), m->bytes);
	close(fd);
	assert_memory_equal(raw, m->shadow, m->bytes);
	free(raw);
}

static void work_on(const char *name, unsigned requests, struct blk_options o)
{
	struct blk *blk = open_disk(o, name);
	struct fail why = { 0, "" };
	struct model m;

	model_init(&m, blk);
	model_run(&m, requests);
	if (blk_close(blk, &why))
		print_message("%s\n", why.text);
	assert_int_equal(why.code, 0);
	same_for_qemu(name, &m);
	/* And again, from what is in the file. */
	blk = open_disk(o, name);
	m.blk = blk;
	model_check(&m);
	model_run(&m, requests / 4);
	assert_int_equal(blk_close(blk, NULL), 0);
	same_for_qemu(name, &m);
	model_free(&m);
}

static void shapes_of_qemu(void **state)
{
	(void)state;
	for (size_t i = 0; i < SHAPES; i++) {
		struct blk_options o = { .aio = i % 2 ? BLK_AIO_THREADS : BLK_AIO_AUTO,
					 .cache = i % 3 ? BLK_CACHE_UNSAFE : BLK_CACHE_WRITEBACK };

		make("shape.qcow2", shapes[i]);
		work_on("shape.qcow2", 200, o);
	}
}

/* Around the page cache; tables go through it, and never share a page with data. */
static void direct_io(void **state)
{
	struct blk_options o = { .cache = BLK_CACHE_NONE, .path = model_path("direct.qcow2") };
	struct fail why = { 0, "" };
	struct blk *blk;

	(void)state;
	make("direct.qcow2", "cluster_size=2k");
	blk = blk_open(&o, &why);
	assert_null(blk);
	if (strstr(why.text, "no direct I/O"))
		skip();
	assert_non_null(strstr(why.text, "too small"));
	make("direct.qcow2", "cluster_size=4k");
	work_on("direct.qcow2", 200, o);
}

static void model_load(struct model *m, const char *raw)
{
	int fd = open(model_path(raw), O_RDONLY);

	memset(m->shadow, 0, m->bytes);
	assert_true(read(fd, m->shadow, m->bytes) > 0);
	close(fd);
}

/* Images that QEMU filled, compressed and not: our reading of them is right, and our writing. */
static void images_of_qemu(void **state)
{
	(void)state;
	make_source("source.raw");
	for (size_t i = 0; i < SHAPES * 2; i++) {
		const char *shape = shapes[i % SHAPES], *pack = i < SHAPES ? "-c" : "";
		struct blk *blk;
		struct model m;

		if ((strstr(shape, "preallocation") && *pack) || (!*pack && i % 4))
			continue;
		assert_int_equal(model_shell("rm -f full.qcow2; qemu-img convert %s -O qcow2 -o %s "
					     "source.raw full.qcow2",
					     pack, shape),
				 0);
		blk = open_disk((struct blk_options){ .readonly = true }, "full.qcow2");
		model_init(&m, blk);
		model_load(&m, "source.raw");
		model_check(&m);
		blk_close(blk, NULL);
		model_free(&m);
		work_on("full.qcow2", 60, (struct blk_options){ .cache = BLK_CACHE_UNSAFE });
	}
}

static void extended_l2(void **state)
{
	struct blk *blk;
	struct model m;

	(void)state;
	make_source("source.raw");
	assert_int_equal(
		model_shell("qemu-img create -q -f raw back.raw %u && qemu-io -f raw -c "
			    "'write -P 7 0 3M' back.raw >/dev/null && "
			    "qemu-img create -q -f qcow2 -o extended_l2=on -b back.raw -F raw "
			    "ext.qcow2 && qemu-io -c 'write -P 9 4k 2k' -c 'write -z 8k 6k' -c "
			    "'write -P 5 1M 200k' -c 'write -z 2M 300k' ext.qcow2 >/dev/null && "
			    "qemu-img convert -O raw ext.qcow2 ext.raw",
			    DISK_BYTES),
		0);
	refused((struct blk_options){ 0 }, "ext.qcow2", "extended L2");
	blk = open_disk((struct blk_options){ .overlay = true }, "ext.qcow2");
	model_init(&m, blk);
	model_load(&m, "ext.raw");
	model_check(&m);
	model_run(&m, 300);
	blk_close(blk, NULL);
	model_free(&m);
}

static void backing_chains(void **state)
{
	static const char *const tops[] = { "cluster_size=64k", "cluster_size=4k,compat=0.10",
					    "cluster_size=512" };

	(void)state;
	make_source("source.raw");
	/* The lowest is shorter than the others. */
	assert_int_equal(model_shell("truncate -s 4000000 source.raw && rm -f mid.qcow2 && "
				     "qemu-img create -q -f qcow2 -b source.raw -F raw -o "
				     "cluster_size=8k mid.qcow2 %u && "
				     "qemu-io -c 'write -P 3 100k 900k' -c 'write -P 4 4500k 100k' "
				     "mid.qcow2 >/dev/null",
				     DISK_BYTES),
			 0);
	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++) {
		assert_int_equal(
			model_shell("rm -f top.qcow2; qemu-img create -q -f qcow2 -b mid.qcow2 "
				    "-F qcow2 -o %s top.qcow2",
				    tops[i]),
			0);
		work_on("top.qcow2", 200, (struct blk_options){ 0 });
	}
}

/* What a snapshot holds stays as it was. */
static void snapshots_are_kept(void **state)
{
	struct blk *blk;
	struct model m;

	(void)state;
	for (size_t i = 0; i < SHAPES; i++) {
		if (strstr(shapes[i], "refcount_bits=1") || (i > 5 && i % 2))
			continue; /* with one bit nothing can be shared */
		make("snap.qcow2", shapes[i]);
		work_on("snap.qcow2", 60, (struct blk_options){ .cache = BLK_CACHE_UNSAFE });
		assert_int_equal(model_shell("qemu-img snapshot -c one snap.qcow2 && "
					     "qemu-img convert -O raw snap.qcow2 one.raw"),
				 0);
		work_on("snap.qcow2", 100, (struct blk_options){ .cache = BLK_CACHE_UNSAFE });
		assert_int_equal(model_shell("qemu-img snapshot -a one snap.qcow2"), 0);
		blk = open_disk((struct blk_options){ .readonly = true }, "snap.qcow2");
		model_init(&m, blk);
		model_load(&m, "one.raw");
		model_check(&m);
		blk_close(blk, NULL);
		same_for_qemu("snap.qcow2", &m);
		model_free(&m);
	}
}

static void patch(const char *name, off_t at, const void *bytes, size_t n)
{
	int fd = open(model_path(name), O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, n, at), n);
	close(fd);
}

static void patch32(const char *name, off_t at, uint32_t v)
{
	v = htobe32(v);
	patch(name, at, &v, 4);
}

static void patch64(const char *name, off_t at, uint64_t v)
{
	v = htobe64(v);
	patch(name, at, &v, 8);
}

static void peek(const char *name, off_t at, void *to, size_t bytes)
{
	int fd = open(model_path(name), O_RDONLY);

	assert_int_equal(pread(fd, to, bytes, at), bytes);
	close(fd);
}

static uint64_t peek64(const char *name, off_t at)
{
	uint64_t v;

	peek(name, at, &v, sizeof(v));
	return be64toh(v);
}

static void what_is_refused(void **state)
{
	static const struct {
		off_t at;
		unsigned bytes;
		uint64_t value;
		const char *says;
	} bad[] = {
		{H_VERSION,                  4, 4,                 "version 4"                  },
		{ H_CLUSTER_BITS,            4, 8,                 "impossible size"            },
		{ H_CLUSTER_BITS,            4, 0xffffffff,        "impossible size"            },
		{ H_SIZE,                    8, UINT64_MAX,        "impossible size"            },
		{ H_SIZE,                    8, UINT64_C(1) << 50, "L1 table is too small"      },
		{ H_CRYPT_METHOD,            4, 1,                 "encrypted"                  },
		{ H_L1_SIZE,                 4, 0xffffffff,        "L1 table is too large"      },
		{ H_L1_SIZE,                 4, 4194304,           "L1 table is not in the file"},
		{ H_L1_TABLE_OFFSET,         8, 0x10001,           "L1 table is not in the file"},
		{ H_L1_TABLE_OFFSET,         8, UINT64_C(1) << 60, "L1 table is not in the file"},
		{ H_L1_TABLE_OFFSET,         8, 0x10000,           "overlap"                    },
		{ H_REFCOUNT_TABLE_OFFSET,   8, 0,                 "refcount table"             },
		{ H_REFCOUNT_TABLE_CLUSTERS, 4, 0xffffffff,        "refcount table is too large"},
		{ H_NB_SNAPSHOTS,            4, 0xffffffff,        "snapshot table"             },
		{ H_REFCOUNT_ORDER,          4, 7,                 "impossible width"           },
		{ H_HEADER_LENGTH,           4, 8,                 "impossible length"          },
		{ H_HEADER_LENGTH,           4, 0x7fffffff,        "impossible length"          },
		{ H_INCOMPATIBLE_FEATURES,   8, 2,                 "marked damaged"             },
		{ H_INCOMPATIBLE_FEATURES,   8, 4,                 "external data file"         },
		{ H_INCOMPATIBLE_FEATURES,   8, 8,                 "compression type"           },
		{ H_INCOMPATIBLE_FEATURES,   8, UINT64_C(1) << 63, "not supported"              },
		{ H_BACKING_SIZE,            4, 5000,              ""                           },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make("bad.qcow2", "cluster_size=64k");
		if (bad[i].bytes == 4)
			patch32("bad.qcow2", bad[i].at, (uint32_t)bad[i].value);
		else
			patch64("bad.qcow2", bad[i].at, bad[i].value);
		if (bad[i].at == H_BACKING_SIZE)
			patch64("bad.qcow2", H_BACKING_OFFSET, 0xffff);
		refused((struct blk_options){ 0 }, "bad.qcow2", bad[i].says);
	}
	/* The name of an unknown feature is in the image. */
	make("bad.qcow2", "cluster_size=64k");
	patch64("bad.qcow2", H_INCOMPATIBLE_FEATURES, 1 << 5);
	patch("bad.qcow2", 112 + 8, "\0\5future thing", 14);
	refused((struct blk_options){ 0 }, "bad.qcow2", "future thing");
	assert_int_equal(model_shell("qemu-img create -q -f qcow2 --object secret,id=s,data=x -o "
				     "encrypt.format=luks,encrypt.key-secret=s luks.qcow2 1M"),
			 0);
	refused((struct blk_options){ .readonly = true }, "luks.qcow2", "encrypted");
	assert_int_equal(
		model_shell("qemu-img create -q -f qcow2 -o data_file=d.raw data.qcow2 1M"), 0);
	refused((struct blk_options){ .readonly = true }, "data.qcow2", "external data file");
	assert_int_equal(model_shell("head -c 50 bad.qcow2 >short.qcow2"), 0);
	refused((struct blk_options){ .format = BLK_QCOW2 }, "short.qcow2", "not a qcow2");
}

/* An image that does not say what its backing file is: today's qemu-img makes none. */
static void make_on(const char *backing, const char *name)
{
	struct qcow2_shape shape = { .bytes = 1 << 20, .backing = backing };
	int fd = open(model_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(qcow2_create(fd, &shape, NULL), 0);
	close(fd);
}

static void backing_is_guarded(void **state)
{
	struct blk *blk;

	(void)state;
	/* a -> b -> a */
	assert_int_equal(
		model_shell("qemu-img create -q -f qcow2 a.qcow2 1M && qemu-img create -q -f "
			    "qcow2 -b a.qcow2 -F qcow2 b.qcow2 && qemu-img rebase -u -b b.qcow2 "
			    "-F qcow2 a.qcow2"),
		0);
	refused((struct blk_options){ 0 }, "a.qcow2", "comes back");
	refused((struct blk_options){ .readonly = true }, "b.qcow2", "comes back");
	/* A backing file of unstated format may not name another file. */
	assert_int_equal(
		model_shell("qemu-img create -q -f raw c.raw 1M && qemu-img create -q -f qcow2 "
			    "-b c.raw -F raw d.qcow2"),
		0);
	make_on("d.qcow2", "e.qcow2");
	refused((struct blk_options){ 0 }, "e.qcow2", "does not name the format");
	make_on("c.raw", "f.qcow2");
	blk = open_disk((struct blk_options){ 0 }, "f.qcow2");
	/* The chain below is locked against writers. */
	refused((struct blk_options){ 0 }, "c.raw", "in use");
	blk_close(blk, NULL);
	assert_int_equal(
		model_shell("qemu-img create -q -f qcow2 -u -b nbd://h/x -F raw g.qcow2 1M"), 0);
	refused((struct blk_options){ 0 }, "g.qcow2", "not a plain file name");
	assert_int_equal(
		model_shell("qemu-img create -q -f qcow2 -u -b gone.raw -F raw h.qcow2 1M"), 0);
	refused((struct blk_options){ 0 }, "h.qcow2", "gone.raw");
	assert_int_equal(model_shell("qemu-img create -q -f qcow2 -u -b c.raw -F vmdk i.qcow2 1M"),
			 0);
	refused((struct blk_options){ 0 }, "i.qcow2", "vmdk");
}

/* Tables that lead nowhere: an error for the guest, a mark in the image, nothing else. */
static void damage_while_running(void **state)
{
	static uint8_t data[65536];
	uint64_t features;
	struct blk *blk;
	int fd;

	(void)state;
	make("hurt.qcow2", "cluster_size=64k");
	assert_int_equal(model_shell("qemu-io -c 'write -P 1 0 1M' hurt.qcow2 >/dev/null"), 0);
	/* The first L2 table is the cluster after header, refcounts and L1. */
	patch64("hurt.qcow2", 4 * 65536 + 8, ENTRY_COPIED | UINT64_C(0x7777770000));
	patch64("hurt.qcow2", 4 * 65536 + 16, ENTRY_COPIED | 65536); /* the refcount table */
	patch64("hurt.qcow2", 4 * 65536 + 24, ENTRY_COPIED | 512);
	patch64("hurt.qcow2", 4 * 65536 + 32, ENTRY_COMPRESSED | UINT64_C(0x3fffffffffffffff));
	blk = open_disk((struct blk_options){ 0 }, "hurt.qcow2");
	assert_int_equal(blk_run(blk, BLK_READ, 0, data, 65536), 0);
	assert_int_equal(data[100], 1);
	assert_int_equal(blk_run(blk, BLK_READ, 65536, data, 65536), -EIO);
	assert_int_equal(blk_run(blk, BLK_READ, 3 * 65536, data, 65536), -EIO);
	assert_int_equal(blk_run(blk, BLK_READ, 4 * 65536, data, 65536), -EIO);
	assert_int_equal(blk_run(blk, BLK_WRITE, 2 * 65536, data, 65536), -EIO);
	assert_int_equal(blk_run(blk, BLK_WRITE, 0, data, 65536), -EIO);
	assert_int_equal(blk_run(blk, BLK_READ, 5 * 65536, data, 65536), 0);
	blk_close(blk, NULL);
	fd = open(model_path("hurt.qcow2"), O_RDONLY);
	assert_int_equal(pread(fd, &features, 8, H_INCOMPATIBLE_FEATURES), 8);
	close(fd);
	assert_int_equal(be64toh(features), INCOMPATIBLE_CORRUPT);
	refused((struct blk_options){ 0 }, "hurt.qcow2", "marked damaged");
	assert_int_not_equal(model_shell("qemu-img check hurt.qcow2 >/dev/null 2>&1"), 0);
}

static void silent(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

/* Entries that lead to the header, the tables and the counts: whoever gives their cluster up by a
 * write or a discard gives them to the guest. */
static void tables_are_not_given_up(void **state)
{
	static const enum blk_op ops[4] = { BLK_WRITE, BLK_WRITE, BLK_DISCARD, BLK_ZERO };
	static uint8_t data[2 * 65536];

	(void)state;
	make("whole.qcow2", "cluster_size=64k");
	assert_int_equal(model_shell("qemu-io -c 'write -P 1 0 1M' whole.qcow2 >/dev/null"), 0);
	for (unsigned i = 0; i < 4 * 2 * 5; i++) {
		uint64_t packed = i / 4 % 2 ? ENTRY_COMPRESSED : 0, at = i / 8 * 65536;
		uint64_t entry = packed || at ? packed | at : 512;
		enum blk_op op = ops[i % 4];
		struct blk *blk;

		assert_int_equal(model_shell("cp whole.qcow2 own.qcow2"), 0);
		patch64("own.qcow2", 4 * 65536 + 8, i % 4 ? entry : entry | ENTRY_ZERO);
		blk = open_disk((struct blk_options){ .say = silent }, "own.qcow2");
		assert_int_equal(blk_run(blk, op, 0, data, 2 * 65536), -EIO);
		assert_int_equal(blk_run(blk, BLK_WRITE, 5 * 65536, data, 65536), -EIO);
		blk_close(blk, NULL);
		refused((struct blk_options){ 0 }, "own.qcow2", "marked damaged");
	}
}

/* A table that a snapshot shares, and an entry that leads to it: given up twice it would be gone.
 */
static void shared_tables_are_not_given_up(void **state)
{
	static uint8_t data[65536];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		enum blk_op op = i ? BLK_DISCARD : BLK_WRITE;
		struct blk *blk;

		make("own.qcow2", "cluster_size=64k");
		assert_int_equal(model_shell("qemu-io -c 'write -P 1 0 1M' own.qcow2 >/dev/null && "
					     "qemu-img snapshot -c one own.qcow2"),
				 0);
		patch64("own.qcow2", 4 * 65536 + 8, 4 * 65536);
		blk = open_disk((struct blk_options){ .say = silent }, "own.qcow2");
		assert_int_equal(blk_run(blk, op, 65536, data, 65536), -EIO);
		blk_close(blk, NULL);
		refused((struct blk_options){ 0 }, "own.qcow2", "marked damaged");
	}
}

/* The L1 tables of two snapshots, which nobody reads: a write through an entry that leads to one of
 * them would be its end. */
static void tables_of_snapshots(void **state)
{
	static uint8_t data[65536];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint8_t entry[SNAPSHOT_HEAD];
		uint64_t at, l1;
		struct blk *blk;

		make("own.qcow2", "cluster_size=64k");
		assert_int_equal(model_shell("qemu-io -c 'write -P 1 0 1M' own.qcow2 >/dev/null && "
					     "qemu-img snapshot -c first own.qcow2 && "
					     "qemu-img snapshot -c second own.qcow2 && "
					     "qemu-io -c 'write -P 2 0 1M' own.qcow2 >/dev/null"),
				 0);
		at = peek64("own.qcow2", H_SNAPSHOTS_OFFSET);
		peek("own.qcow2", (off_t)at, entry, sizeof(entry));
		at += i ? qcow2_snapshot_bytes(entry) : 0;
		l1 = peek64("own.qcow2", (off_t)at);
		assert_true(l1 && l1 % 65536 == 0);
		at = peek64("own.qcow2", (off_t)peek64("own.qcow2", H_L1_TABLE_OFFSET)) &
		     ENTRY_OFFSET;
		patch64("own.qcow2", (off_t)at + 8, ENTRY_COPIED | l1);
		blk = open_disk((struct blk_options){ .say = silent }, "own.qcow2");
		assert_int_equal(blk_run(blk, BLK_WRITE, 65536, data, 65536), -EIO);
		blk_close(blk, NULL);
		refused((struct blk_options){ 0 }, "own.qcow2", "marked damaged");
	}
}

/* No memory for a list while a shared table is copied: the copy's place is the guest's then. */
static void copy_without_memory(void **state)
{
	const size_t too_many = ((size_t)1 << 60) - 1;
	struct image_options o = { .path = model_path("copy.qcow2"), .writable = true };
	static uint8_t data[65536];
	struct image *image;
	struct qcow2 *q;

	(void)state;
	make("copy.qcow2", "cluster_size=64k");
	assert_int_equal(model_shell("qemu-io -c 'write -P 1 0 1M' copy.qcow2 >/dev/null && "
				     "qemu-img snapshot -c one copy.qcow2"),
			 0);
	image = image_open(&o, NULL);
	assert_non_null(image);
	q = qcow2_of(image);
	q->freed.count = q->freed.room = too_many;
	assert_int_equal(image_write(image, 0, data, sizeof(data)), -ENOMEM);
	assert_int_equal(q->freed.count, too_many);
	q->freed.count = q->freed.room = 0;
	assert_false(cache_is_dirty(&q->l2));
	memset(data, 9, sizeof(data));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(image_write(image, i * 65536, data, sizeof(data)), 0);
	assert_int_equal(image_settle(image), 0);
	image_close(image);
	assert_int_equal(model_shell("qemu-img check -q copy.qcow2 && qemu-io -c "
				     "'read -P 9 0 256k' -c 'read -P 1 256k 768k' copy.qcow2 | "
				     "grep -c verification >bad; grep -qx 0 bad"),
			 0);
}

/* A writer with lazy counts died: the counts are made true before anything is written. */
static void dirty_is_repaired(void **state)
{
	static const uint8_t zero[4096];

	(void)state;
	make("dirty.qcow2", "cluster_size=64k,lazy_refcounts=on");
	work_on("dirty.qcow2", 100, (struct blk_options){ 0 });
	patch("dirty.qcow2", 2 * 65536 + 10, zero, 4096); /* the refcount block, but for itself */
	patch64("dirty.qcow2", H_INCOMPATIBLE_FEATURES, INCOMPATIBLE_DIRTY);
	work_on("dirty.qcow2", 200, (struct blk_options){ 0 });
}

static void our_own(void **state)
{
	static const unsigned bits[] = { 0, 9, 12, 21 };

	(void)state;
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		struct qcow2_shape shape = { .bytes = DISK_BYTES, .cluster_bits = bits[i] };
		int fd = open(model_path("own.qcow2"), O_RDWR | O_CREAT | O_TRUNC, 0600);

		assert_int_equal(qcow2_create(fd, &shape, NULL), 0);
		close(fd);
		assert_int_equal(model_shell("qemu-img check -q own.qcow2"), 0);
		work_on("own.qcow2", 300, (struct blk_options){ .cache = BLK_CACHE_UNSAFE });
	}
}

static void our_packing(void **state)
{
	(void)state;
	make_source("source.raw");
	for (unsigned compression = 0; compression < 2; compression++) {
		struct qcow2_shape shape = { .bytes = DISK_BYTES, .compression = compression };
		int fd = open(model_path("pack.qcow2"), O_RDWR | O_CREAT | O_TRUNC, 0600);
		struct image_options o = { .path = model_path("pack.qcow2"), .writable = true };
		struct image_options from = { .path = model_path("source.raw") };
		static uint8_t cluster[65536];
		struct image *to, *source;

		assert_int_equal(qcow2_create(fd, &shape, NULL), 0);
		close(fd);
		to = image_open(&o, NULL);
		source = image_open(&from, NULL);
		for (uint64_t at = 0; at < DISK_BYTES; at += sizeof(cluster)) {
			int err;

			assert_int_equal(image_read(source, at, cluster, sizeof(cluster)), 0);
			err = qcow2_write_packed(to, at, cluster);
			if (err == -E2BIG)
				err = image_write(to, at, cluster, sizeof(cluster));
			assert_int_equal(err, 0);
		}
		assert_int_equal(image_settle(to), 0);
		image_close(to);
		image_close(source);
		assert_int_equal(model_shell("qemu-img compare -q source.raw pack.qcow2"), 0);
		work_on("pack.qcow2", 200, (struct blk_options){ .cache = BLK_CACHE_UNSAFE });
	}
}

static void overlays_leave_no_trace(void **state)
{
	struct blk_options o = { .overlay = true };
	struct blk *a, *b;
	struct model m, n;

	(void)state;
	make("base.qcow2", "cluster_size=64k");
	work_on("base.qcow2", 100, (struct blk_options){ 0 });
	assert_int_equal(model_shell("sha256sum base.qcow2 >sum"), 0);
	a = open_disk(o, "base.qcow2");
	b = open_disk(o, "base.qcow2");
	model_init(&m, a);
	model_init(&n, b);
	model_run(&m, 300);
	model_run(&n, 300);
	model_check(&m);
	refused((struct blk_options){ 0 }, "base.qcow2", "in use");
	blk_close(a, NULL);
	blk_close(b, NULL);
	model_free(&m);
	model_free(&n);
	assert_int_equal(model_shell("sha256sum -c --quiet sum"), 0);
}

/* A small cache: commits that the guest did not ask for. */
static void large_disk_of_small_clusters(void **state)
{
	static uint8_t data[4096];
	struct blk *blk;

	(void)state;
	assert_int_equal(
		model_shell("qemu-img create -q -f qcow2 -o cluster_size=512 big.qcow2 1G"), 0);
	blk = open_disk((struct blk_options){ .cache = BLK_CACHE_UNSAFE }, "big.qcow2");
	/* One cluster in each of 32768 L2 tables, twice as many as are cached. */
	for (uint64_t at = 0; at < UINT64_C(1) << 30; at += 32768) {
		memcpy(data, &at, sizeof(at));
		assert_int_equal(blk_run(blk, BLK_WRITE, at, data, 512), 0);
	}
	for (uint64_t at = 0; at < UINT64_C(1) << 30; at += 32768) {
		uint64_t back;

		assert_int_equal(blk_run(blk, BLK_READ, at, data, 512), 0);
		memcpy(&back, data, sizeof(back));
		assert_int_equal(back, at);
	}
	assert_int_equal(blk_close(blk, NULL), 0);
	assert_int_equal(model_shell("qemu-img check -q big.qcow2"), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(shapes_of_qemu),
	cmocka_unit_test(direct_io),
	cmocka_unit_test(images_of_qemu),
	cmocka_unit_test(extended_l2),
	cmocka_unit_test(backing_chains),
	cmocka_unit_test(snapshots_are_kept),
	cmocka_unit_test(what_is_refused),
	cmocka_unit_test(backing_is_guarded),
	cmocka_unit_test(damage_while_running),
	cmocka_unit_test(tables_are_not_given_up),
	cmocka_unit_test(shared_tables_are_not_given_up),
	cmocka_unit_test(tables_of_snapshots),
	cmocka_unit_test(copy_without_memory),
	cmocka_unit_test(dirty_is_repaired),
	cmocka_unit_test(our_own),
	cmocka_unit_test(our_packing),
	cmocka_unit_test(overlays_leave_no_trace),
	cmocka_unit_test(large_disk_of_small_clusters),
};

int main(void)
{
	return cmocka_run_group_tests(tests, model_enter, model_leave);
}
