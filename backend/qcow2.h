/*
 * qcow2.h - the inside of a qcow2 image, shared by the qcow2_*.c files.
 *
 * Two maps. L1 and L2 tables say for each guest cluster where it lies in the file; refcount table
 * and blocks say for each cluster of the file how many use it. A crash may leave a cluster
 * counted and unused (a leak), never used and uncounted: so counts grow before they are needed,
 * and shrink after nothing needs them. qcow2_commit.c keeps that order.
 *
 * Clusters of the file are allocated and counted in memory; tables are cached and written by the
 * commit. -EUCLEAN: the image contradicts itself.
 *
 * Specification: QEMU docs/interop/qcow2.rst ("the specification" in the qcow2 files).
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_QCOW2_H
#define BACKEND_QCOW2_H

#include <endian.h>

#include "backend/block_image.h"

#define QCOW2_MAGIC 0x514649fbu

/* Header, v2 and v3. Offsets in bytes; all fields big-endian. */
enum {
	H_MAGIC = 0,
	H_VERSION = 4,
	H_BACKING_OFFSET = 8,
	H_BACKING_SIZE = 16,
	H_CLUSTER_BITS = 20,
	H_SIZE = 24,
	H_CRYPT_METHOD = 32,
	H_L1_SIZE = 36,
	H_L1_TABLE_OFFSET = 40,
	H_REFCOUNT_TABLE_OFFSET = 48,
	H_REFCOUNT_TABLE_CLUSTERS = 56,
	H_NB_SNAPSHOTS = 60,
	H_SNAPSHOTS_OFFSET = 64,
	H_V2_BYTES = 72,
	H_INCOMPATIBLE_FEATURES = 72,
	H_COMPATIBLE_FEATURES = 80,
	H_AUTOCLEAR_FEATURES = 88,
	H_REFCOUNT_ORDER = 96,
	H_HEADER_LENGTH = 100,
	H_COMPRESSION_TYPE = 104,
	H_V3_BYTES = 112,
};

#define INCOMPATIBLE_DIRTY       (UINT64_C(1) << 0)
#define INCOMPATIBLE_CORRUPT     (UINT64_C(1) << 1)
#define INCOMPATIBLE_DATA_FILE   (UINT64_C(1) << 2)
#define INCOMPATIBLE_COMPRESSION (UINT64_C(1) << 3)
#define INCOMPATIBLE_EXTENDED_L2 (UINT64_C(1) << 4)
#define INCOMPATIBLE_KNOWN       UINT64_C(0x1f)
#define COMPATIBLE_LAZY          (UINT64_C(1) << 0)
#define AUTOCLEAR_BITMAPS        (UINT64_C(1) << 0)

#define EXTENSION_END            0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_FEATURE_NAMES  0x6803f857u
#define EXTENSION_BITMAPS        0x23852875u

enum { COMPRESSION_ZLIB, COMPRESSION_ZSTD };

/* L1 and L2 entries. */
#define ENTRY_COPIED     (UINT64_C(1) << 63) /* refcount is exactly one: may be written in place */
#define ENTRY_COMPRESSED (UINT64_C(1) << 62)
#define ENTRY_ZERO       (UINT64_C(1) << 0)
#define ENTRY_OFFSET     UINT64_C(0x00fffffffffffe00)

#define L1_BYTES_MAX       (UINT64_C(32) << 20)
#define REFTABLE_BYTES_MAX (UINT64_C(8) << 20)
#define SNAPSHOTS_MAX      65536u
#define SNAPSHOT_HEAD      40u /* of an entry of the snapshot table */

/* A table of one cluster, cached: an L2 table or a refcount block. Entries are as in the file. */
struct table {
	uint64_t offset; /* in the file */
	uint8_t *data;
	uint32_t dirty_from, dirty_to; /* bytes; equal: clean */
	bool unreachable;              /* new: nothing in the file leads to it yet */
	struct table *newer, *older;   /* by use */
	struct table *chain;           /* same bucket */
};

struct table_cache {
	struct table **buckets;
	uint32_t buckets_mask;
	uint32_t count, most;
	struct table *newest, *oldest;
};

/* A set of cluster offsets, none of which is 0 - but the header's, which is always in it. */
struct cluster_set {
	uint64_t *slots;
	uint64_t count, mask;
};

struct cluster_list {
	uint64_t *offsets;
	size_t count, room;
};

#define UNPACKED 8 /* decompressed clusters kept */
struct unpacked {
	uint64_t host; /* of the compressed bytes; 0: none */
	uint64_t used;
	uint8_t *data;
};

struct qcow2 {
	struct image image;
	unsigned version, cluster_bits;
	uint64_t cluster; /* bytes */
	bool extended;    /* L2 entries of 16 bytes, with 32 subclusters each */
	unsigned l2_bits; /* log2 of the entries of an L2 table */
	unsigned refcount_order;
	unsigned block_bits; /* log2 of the entries of a refcount block */
	uint64_t incompatible, compatible, autoclear;
	unsigned compression;
	uint32_t header_length;

	uint64_t l1_offset;
	uint32_t l1_entries, l1_dirty_from, l1_dirty_to; /* entries */
	uint64_t *l1;                                    /* host byte order */
	uint64_t reftable_offset;
	uint64_t reftable_entries;
	uint64_t *reftable; /* host byte order */
	uint32_t snapshots;
	uint64_t snapshots_offset;
	uint64_t bitmaps_offset, bitmaps_bytes; /* bitmap directory; 0: none */
	uint32_t bitmaps;
	char backing[1024], backing_format[32]; /* empty: none */

	uint64_t end;  /* the file was never written from here on; a multiple of cluster */
	uint64_t hint; /* no free cluster below this one (index) */
	struct table_cache l2, blocks;
	struct cluster_set owned;  /* clusters of tables: no guest data may go there */
	struct cluster_list freed; /* unlinked in memory */
	struct cluster_list ready; /* unlinked in the file: may be counted down */
	unsigned commit_stage;
	bool committing; /* inside a commit: caches grow rather than start another */
	bool damaged;
	uint64_t packed_at; /* where the next compressed bytes go; 0: to a new cluster */
	struct unpacked unpacked[UNPACKED];
	uint64_t unpacked_clock;
};

static inline uint32_t get32(const uint8_t *at)
{
	uint32_t v;

	__builtin_memcpy(&v, at, 4);
	return be32toh(v);
}

/* Bytes of the snapshot table's entry that begins so: its head, extra data, id and name. */
static inline uint64_t qcow2_snapshot_bytes(const uint8_t head[SNAPSHOT_HEAD])
{
	uint64_t bytes = SNAPSHOT_HEAD + (uint64_t)get32(head + 36) +
			 (uint64_t)(head[12] << 8 | head[13]) +
			 (uint64_t)(head[14] << 8 | head[15]);

	return (bytes + 7) & ~UINT64_C(7);
}

static inline uint64_t get64(const uint8_t *at)
{
	uint64_t v;

	__builtin_memcpy(&v, at, 8);
	return be64toh(v);
}

static inline void put32(uint8_t *at, uint32_t v)
{
	v = htobe32(v);
	__builtin_memcpy(at, &v, 4);
}

static inline void put64(uint8_t *at, uint64_t v)
{
	v = htobe64(v);
	__builtin_memcpy(at, &v, 8);
}

static inline struct qcow2 *qcow2_of(struct image *image)
{
	return (struct qcow2 *)image;
}

/* qcow2_cache.c. A table stays valid until sixteen others have been asked for. */
int cache_init(struct table_cache *c, uint64_t cluster);
void table_cache_free(struct table_cache *c);
int table_get(struct qcow2 *q, struct table_cache *c, uint64_t offset, struct table **t);
int table_new(struct qcow2 *q, struct table_cache *c, uint64_t offset, struct table **t);
void table_dirty(struct table *t, uint32_t from, uint32_t bytes);
/* Writes what is dirty; only_unreachable: of new tables. *any: whether there was something. */
int cache_write(struct qcow2 *q, struct table_cache *c, bool only_unreachable, bool *any);
bool cache_is_dirty(const struct table_cache *c);

bool set_has(const struct cluster_set *s, uint64_t offset);
/* -EEXIST: it is in already. */
int set_add(struct cluster_set *s, uint64_t offset);
void set_remove(struct cluster_set *s, uint64_t offset);
int list_add(struct cluster_list *l, uint64_t offset);

/* qcow2_refcount.c. Cluster numbers are indices into the file. */
int refcount_get(struct qcow2 *q, uint64_t number, uint64_t *count);
int refcount_set(struct qcow2 *q, uint64_t number, uint64_t count);
/* Up to `want` clusters side by side, counted once each. *blank: the file reads as zero there. */
int clusters_alloc(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got, bool *blank);
/* Counts one down; *gone: nobody uses it any more. */
int cluster_release(struct qcow2 *q, uint64_t offset, bool *gone);
uint64_t refcount_max(const struct qcow2 *q);
uint64_t refcount_in_block(const struct qcow2 *q, const uint8_t *block, uint64_t index);

/* qcow2_map.c */
int qcow2_map(struct image *image, uint64_t offset, uint64_t bytes, struct extent *e);
bool qcow2_in_place(struct image *image, uint64_t offset, uint64_t bytes);
/* The L2 table of a guest offset; *t NULL: there is none. */
int l2_find(struct qcow2 *q, uint64_t offset, struct table **t);
static inline uint32_t l2_index(const struct qcow2 *q, uint64_t offset)
{
	return (uint32_t)(offset >> q->cluster_bits) & ((1u << q->l2_bits) - 1);
}
/* The bytes of a compressed cluster, from its L2 entry. */
void packed_range(const struct qcow2 *q, uint64_t entry, uint64_t *host, uint32_t *bytes);
/* Is `offset` where a cluster of this file can start? */
static inline bool cluster_valid(const struct qcow2 *q, uint64_t offset)
{
	return offset && !(offset & (q->cluster - 1)) && offset < q->end;
}

/* qcow2_write.c */
int qcow2_place(struct image *image, uint64_t offset, uint64_t bytes, struct placement *p);
int qcow2_link(struct image *image, const struct placement *p);
void qcow2_unplace(struct image *image, const struct placement *p);
int qcow2_erase(struct image *image, uint64_t offset, uint64_t bytes, enum erase how,
		uint64_t *done);
/* The L2 table of a guest offset, made (or made this image's own) when needed. */
int l2_own(struct qcow2 *q, uint64_t offset, struct table **t);
/* The image contradicts itself: marks it (incompatible feature bit 1), returns -EUCLEAN. */
int qcow2_damage(struct qcow2 *q);

/* qcow2_commit.c */
int qcow2_commit(struct image *image, unsigned step);
int qcow2_commit_now(struct qcow2 *q);

/* qcow2_pack.c */
int qcow2_unpack(struct image *image, const struct extent *e, uint64_t offset,
		 const uint8_t **cluster);
void unpacked_free(struct qcow2 *q);
/* Compresses one cluster that the image does not have yet and stores it. -E2BIG: it does not
 * shrink: write it as it is. */
int qcow2_write_packed(struct image *image, uint64_t offset, const uint8_t *cluster);

/* qcow2_create.c: writes an empty image into an open, empty file. */
struct qcow2_shape {
	uint64_t bytes;
	unsigned cluster_bits; /* 0: 16 */
	unsigned compression;
	const char *backing, *backing_format;
};
int qcow2_create(int fd, const struct qcow2_shape *shape, struct fail *why);

/* qcow2_check.c */
struct qcow2_findings {
	uint64_t errors, leaks, fixed;              /* clusters, or entries */
	uint64_t clusters, allocated, packed, zero; /* guest clusters */
	char first[120];                            /* the first error, in words */
	bool bitmaps; /* there are some: they are not followed, nothing is fixed */
};
/* Compares counts with uses; fix: corrects the counts and the COPIED flags. 0, or -E* and a
 * sentence when that cannot be done; what is wrong with the image is in *f. */
int qcow2_check(struct image *image, const char *path, bool fix, struct qcow2_findings *f,
		struct fail *why);

#endif
