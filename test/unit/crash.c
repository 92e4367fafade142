/*
 * crash.c - a writer is killed at any moment; the image is whole, and what was flushed is there.
 *
 * The writer is a process of its own. It tags every sector with its block's number and a version
 * that only grows, and tells in shared memory what it has submitted and what a flush has covered.
 * After SIGKILL every sector must hold a version between the two, and `qemu-img check` must find
 * nothing but leaks. Rounds go on with the image as they find it.
 *
 * `crash ROUNDS` makes more of them (make soak).
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "test/unit/disk_model.h"

#define BLOCK     4096u
#define BLOCKS    4096u
#define IN_FLIGHT 12
#define RUN       24 /* most blocks of one write */

static unsigned rounds = 10;

/* What the writer tells. Versions: even ones are data, odd ones zeroes; 0 is the empty disk. */
struct told {
	_Atomic(uint64_t) submitted[BLOCKS], flushed[BLOCKS], zeroed[BLOCKS];
	_Atomic(uint64_t) flushes;
};

static struct told *told;

struct tag {
	uint64_t block, version, check;
};

struct write {
	struct blk_request request;
	struct iovec iov;
	uint8_t *data;
	uint64_t first, count, version;
	bool busy;
	_Atomic(int) err;
};

struct writer {
	struct blk *blk;
	struct write writes[IN_FLIGHT];
	uint64_t done[BLOCKS]; /* versions whose request has ended */
	uint64_t next;
};

static void tag_fill(uint8_t *sector, uint64_t block, uint64_t version)
{
	struct tag tag = { block, version, (block * 31 + version) * UINT64_C(0x9e3779b97f4a7c15) };

	for (unsigned at = 0; at + sizeof(tag) <= 512; at += sizeof(tag))
		memcpy(sector + at, &tag, sizeof(tag));
}

static void write_done(struct blk_request *r, int err)
{
	atomic_store(&((struct write *)r->arg)->err, err);
}

static void settle(struct writer *w, struct write *one)
{
	if (!one->busy)
		return;
	blk_wait(w->blk, &one->request);
	one->busy = false;
	if (one->err)
		_exit(3);
	for (uint64_t i = 0; i < one->count; i++)
		w->done[one->first + i] = one->version;
}

static void start_write(struct writer *w)
{
	struct write *one = &w->writes[model_random(IN_FLIGHT)];
	bool zero = model_random(5) == 0;

	settle(w, one);
	one->first = model_random(BLOCKS);
	one->count = 1 + model_random(model_random(3) ? 3 : RUN);
	if (model_random(3) == 0)
		one->first &= ~UINT64_C(15);
	if (zero && model_random(2))
		one->first &= ~UINT64_C(15), one->count = 16;
	if (one->count > BLOCKS - one->first)
		one->count = BLOCKS - one->first;
	for (int i = 0; i < IN_FLIGHT; i++) {
		struct write *o = &w->writes[i];

		if (o->busy && o->first < one->first + one->count &&
		    one->first < o->first + o->count)
			settle(w, o);
	}
	w->next += 2;
	one->version = w->next | zero;
	for (uint64_t i = 0; i < one->count; i++) {
		for (unsigned s = 0; s < BLOCK; s += 512)
			tag_fill(one->data + i * BLOCK + s, one->first + i, one->version);
		atomic_store(&told->submitted[one->first + i], one->version);
		if (zero)
			atomic_store(&told->zeroed[one->first + i], one->version);
	}
	one->iov = (struct iovec){ one->data, one->count * BLOCK };
	one->request = (struct blk_request){ .op = zero ? BLK_ZERO : BLK_WRITE,
					     .unmap = model_random(2),
					     .offset = one->first * BLOCK,
					     .bytes = one->count * BLOCK,
					     .iov = &one->iov,
					     .iovs = 1,
					     .done = write_done,
					     .arg = one };
	one->busy = true;
	blk_submit(w->blk, &one->request);
}

/* A flush beside writes that are still under way: it covers those that have ended. */
static void flush(struct writer *w)
{
	static uint64_t covered[BLOCKS];

	for (int i = 0; i < IN_FLIGHT; i++) {
		if (model_random(2))
			settle(w, &w->writes[i]);
	}
	memcpy(covered, w->done, sizeof(covered));
	if (blk_run(w->blk, BLK_FLUSH, 0, NULL, 0))
		_exit(4);
	for (unsigned i = 0; i < BLOCKS; i++)
		atomic_store(&told->flushed[i], covered[i]);
	atomic_fetch_add(&told->flushes, 1);
}

static void write_for_ever(const struct blk_options *o, uint64_t next)
{
	struct writer *w = calloc(1, sizeof(*w));
	struct fail why;

	w->blk = blk_open(o, &why);
	if (!w->blk) {
		fprintf(stderr, "%s\n", why.text);
		_exit(5);
	}
	w->next = next;
	for (unsigned i = 0; i < BLOCKS; i++)
		w->done[i] = atomic_load(&told->flushed[i]);
	for (int i = 0; i < IN_FLIGHT; i++)
		w->writes[i].data = malloc(RUN * BLOCK);
	for (;;) {
		start_write(w);
		if (model_random(25) == 0)
			flush(w);
	}
}

static void check_sector(const uint8_t *sector, unsigned block)
{
	uint64_t from = told->flushed[block], to = told->submitted[block];
	static const uint8_t zero[512];
	uint8_t want[512] = { 0 };
	struct tag tag;

	memcpy(&tag, sector, sizeof(tag));
	if (tag.check == 0) {
		if (from && told->zeroed[block] < from)
			print_message("block %u: zero; version %lu was flushed\n", block, from);
		assert_true(from == 0 || told->zeroed[block] >= from);
		assert_memory_equal(sector, zero, 512);
		return;
	}
	if (tag.block != block || tag.version < from || tag.version > to)
		print_message("block %u: holds block %lu version %lu, not %lu to %lu\n", block,
			      tag.block, tag.version, from, to);
	assert_int_equal(tag.block, block);
	assert_in_range(tag.version, from, to);
	tag_fill(want, block, tag.version);
	assert_memory_equal(sector, want, 504);
}

/* Every sector holds what it may; from now on that is what it must hold. */
static void verify(const char *name)
{
	struct blk_options o = { .path = model_path(name), .readonly = true, .format = BLK_QCOW2 };
	static uint8_t data[BLOCK];
	struct fail why = { 0, "" };
	struct blk *blk = blk_open(&o, &why);

	if (!blk)
		print_message("%s\n", why.text);
	assert_non_null(blk);
	for (unsigned i = 0; i < BLOCKS; i++) {
		assert_int_equal(blk_run(blk, BLK_READ, (uint64_t)i * BLOCK, data, BLOCK), 0);
		for (unsigned s = 0; s < BLOCK; s += 512)
			check_sector(data + s, i);
	}
	blk_close(blk, NULL);
}

static const char *const shapes[] = {
	"-o cluster_size=64k %s 16M",
	"-o cluster_size=512 %s 16M",
	"-o cluster_size=4k,refcount_bits=64 %s 16M",
	"-o cluster_size=64k,lazy_refcounts=on -b zero.raw -F raw %s",
	"-o cluster_size=4k,compat=0.10 -b zero.raw -F raw %s 16M",
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void new_image(unsigned shape)
{
	char command[200] = "rm -f crash.qcow2; qemu-img create -q -f qcow2 ";
	size_t n = strlen(command);

	/* The format string is one of ours. */
	for (const char *s = shapes[shape]; *s; s++) {
		if (s[0] == '%' && s[1] == 's') {
			n += (size_t)snprintf(command + n, sizeof(command) - n, "crash.qcow2");
			s++;
		} else {
			command[n++] = *s;
		}
	}
	assert_int_equal(model_shell("%s", command), 0);
	memset(told, 0, sizeof(*told));
}

/* After a round the versions found are as good as flushed: only then do they stay. */
static void go_on_from_here(void)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (told->submitted[i] != told->flushed[i])
			told->zeroed[i] = told->submitted[i];
	}
}

static void one_round(unsigned round, uint64_t *next)
{
	struct blk_options o = { .path = model_path("crash.qcow2"),
				 .format = BLK_QCOW2,
				 .aio = round % 2 ? BLK_AIO_THREADS : BLK_AIO_AUTO };
	struct timespec pause = { 0, 1000000 + (long)model_random(150) * 1000000 };
	int status, check;
	pid_t pid;

	if (round % 4 == 0)
		new_image(round / 4 % SHAPES);
	else if (round % 4 == 2 && round / 4 % SHAPES != 4)
		assert_int_equal(model_shell("qemu-img snapshot -c s%u crash.qcow2", round), 0);
	fflush(stdout);
	*next += 1000000;
	model_random(round + 2);
	pid = fork();
	if (pid == 0)
		write_for_ever(&o, *next);
	nanosleep(&pause, NULL);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	verify("crash.qcow2"); /* waits for what the kernel still does for the dead */
	check = model_shell("qemu-img check crash.qcow2 >check.txt 2>&1");
	if (check != 0 && WEXITSTATUS(check) != 3)
		model_shell("tail -5 check.txt >&2");
	assert_true(check == 0 || WEXITSTATUS(check) == 3); /* 3: leaks only */
	go_on_from_here();
}

static void killed_writers(void **state)
{
	uint64_t next = 0;

	(void)state;
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(told != MAP_FAILED);
	assert_int_equal(model_shell("truncate -s 16M zero.raw"), 0);
	for (unsigned i = 0; i < rounds; i++)
		one_round(i, &next);
	print_message("%u rounds; %lu flushes in the last image\n", rounds, told->flushes);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(killed_writers),
};

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = (unsigned)atoi(argv[1]);
	model_seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid();
	printf("seed %lu\n", model_seed);
	return cmocka_run_group_tests(tests, model_enter, model_leave);
}
