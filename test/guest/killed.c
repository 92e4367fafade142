/*
 * killed.c - the monitor is killed (SIGKILL) at any moment while Debian's kernel writes to a qcow2
 * disk: `qemu-img check` finds nothing but leaks, and every block that the guest's fsync has
 * covered is there.
 *
 * Two writers in the guest (tools/guest/scribble.c), on odd and on even blocks, say on the serial
 * line what they are about to write and what an fsync has covered. Each sector must then hold one
 * of the writes since the last one covered. Rounds go on with the image as they find it; another
 * kind of image every few rounds.
 *
 * `killed ROUNDS` makes more of them (make soak).
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/directory.h"
#include "test/guest/guest.h"

#define BLOCK     32768u
#define BLOCKS    256u
#define SECTORS   (BLOCK / 512)
#define PER_IMAGE 5     /* rounds */
#define KILL_MS   700   /* the latest, after the first write */
#define PENDING   65536 /* writes that no fsync has covered */

static unsigned rounds = 10;

/* Generations go on from the last round's. */
static const char script[] = "scribble /dev/vdb 0 %u & scribble /dev/vdb 1 %u & wait\n";

/* What each sector may hold: a generation (0: what the image began with) or a later write of
 * `pending`. */
static uint32_t held[BLOCKS][SECTORS];
static struct write {
	unsigned writer, block;
	uint32_t generation;
} pending[PENDING];
static unsigned pendings, flushes;
static uint32_t newest;

static int shell(const char *fmt, ...)
{
	char line[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	return system(line);
}

static void make_image(unsigned kind)
{
	static const char *const options[] = {
		"-o cluster_size=64k disk.qcow2",
		"-o cluster_size=4k,lazy_refcounts=on disk.qcow2",
		"-o backing_fmt=raw -b base.raw disk.qcow2",
	};

	assert_int_equal(shell("cd %s && rm -f disk.qcow2 && truncate -s %u base.raw && "
			       "qemu-img create -q -f qcow2 %s %s",
			       directory, BLOCKS * BLOCK, options[kind % 3],
			       kind % 3 == 2 ? "" : "8388608"),
			 0);
	memset(held, 0, sizeof(held));
}

static void make_script(void)
{
	char path[100];

	directory_put("script", script, newest, newest);
	snprintf(path, sizeof(path), "%s/script", directory);
	assert_int_equal(truncate(path, 65536), 0);
}

static pid_t start(int *output)
{
	char disk[120], text[120], **argv;
	int pipes[2];
	pid_t pid;

	snprintf(text, sizeof(text), "%s/script,format=raw,readonly", directory);
	snprintf(disk, sizeof(disk), "%s/disk.qcow2", directory);
	argv = guest_command("console=ttyS0 quiet trapeze.script",
			     GUEST_WORDS("--disk", text, "--disk", disk));
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, STDIN_FILENO);
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		execv(argv[0], argv);
		_exit(127);
	}
	close(pipes[1]);
	*output = pipes[0];
	return pid;
}

/* Everything of this writer up to `generation` is on the medium. */
static void flushed(unsigned writer, uint32_t generation)
{
	unsigned kept = 0;

	flushes++;
	for (unsigned i = 0; i < pendings; i++) {
		struct write w = pending[i];

		if (w.writer != writer || w.generation > generation) {
			pending[kept++] = w;
			continue;
		}
		for (unsigned s = 0; s < SECTORS; s++)
			held[w.block][s] = w.generation;
	}
	pendings = kept;
}

static void take_line(const char *line)
{
	unsigned writer, block;
	uint32_t generation;

	if (sscanf(line, "w %u %u %u", &writer, &block, &generation) == 3) {
		assert_true(block < BLOCKS && pendings < PENDING);
		pending[pendings++] = (struct write){ writer, block, generation };
		if (generation > newest)
			newest = generation;
	} else if (sscanf(line, "f %u %u", &writer, &generation) == 2) {
		flushed(writer, generation);
	} else if (strstr(line, "failed") || strstr(line, "error")) {
		print_message("the guest says: %s\n", line);
		assert_true(false);
	}
}

/* Reads what the guest says, until its end; kills it at a random moment after the first write. */
static void watch(pid_t pid, int output)
{
	double end = session_limit(GUEST_SECONDS), kill_at = 0;
	static char text[65536];
	size_t bytes = 0;

	for (;;) {
		struct pollfd p = { .fd = output, .events = POLLIN };
		char *line = text, *next;
		ssize_t n;

		if (!kill_at && pendings)
			kill_at = session_now() + (double)(random() % KILL_MS) / 1000;
		if (kill_at && session_now() >= kill_at)
			kill(pid, SIGKILL);
		assert_true(session_now() < end);
		if (poll(&p, 1, 1) <= 0)
			continue;
		n = read(output, text + bytes, sizeof(text) - 1 - bytes);
		if (n <= 0)
			break;
		bytes += (size_t)n;
		text[bytes] = '\0';
		for (; (next = strchr(line, '\n')); line = next + 1) {
			*next = '\0';
			take_line(line);
		}
		bytes = strlen(line);
		memmove(text, line, bytes + 1);
	}
}

static bool is_generation(const uint8_t *sector, unsigned block, uint32_t generation)
{
	const uint32_t tag[2] = { generation ? block : 0, generation };

	for (unsigned i = 0; i < 512; i += sizeof(tag)) {
		if (memcmp(sector + i, tag, sizeof(tag)) != 0)
			return false;
	}
	return true;
}

/* The sector holds what was flushed last, or a write since then. */
static void check_sector(const uint8_t *sector, unsigned block, unsigned s)
{
	if (is_generation(sector, block, held[block][s]))
		return;
	for (unsigned i = 0; i < pendings; i++) {
		if (pending[i].block == block &&
		    is_generation(sector, block, pending[i].generation)) {
			held[block][s] = pending[i].generation;
			return;
		}
	}
	print_message("block %u, sector %u: generation %u was flushed, and there is %u\n", block, s,
		      held[block][s], sector[4] | sector[5] << 8u);
	assert_true(false);
}

static void check_image(void)
{
	static uint8_t block[BLOCK];
	char path[100];
	int status, fd;

	/* The kernel ends the I/O of a killed process after it, and its locks with that: our check
	 * takes a lock and waits for it, QEMU's would not. */
	status = shell("%s image check %s/disk.qcow2 >%s/check.txt 2>&1", session_need("TRAPEZE"),
		       directory, directory);
	if (status != 0 && WEXITSTATUS(status) != 3)
		shell("cat %s/check.txt", directory);
	assert_true(status == 0 || WEXITSTATUS(status) == 3);
	status = shell("cd %s && qemu-img check disk.qcow2 >check.txt 2>&1", directory);
	/* 3: leaked clusters, and nothing else. */
	if (status != 0 && WEXITSTATUS(status) != 3)
		shell("cat %s/check.txt", directory);
	assert_true(status == 0 || WEXITSTATUS(status) == 3);
	assert_int_equal(shell("cd %s && qemu-img convert -O raw disk.qcow2 plain.raw", directory),
			 0);
	snprintf(path, sizeof(path), "%s/plain.raw", directory);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	for (unsigned b = 0; b < BLOCKS; b++) {
		assert_int_equal(read(fd, block, BLOCK), BLOCK);
		for (unsigned s = 0; s < SECTORS; s++)
			check_sector(block + 512 * s, b, s);
	}
	close(fd);
}

static void test_killed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < rounds; i++) {
		int output, status;
		pid_t pid;

		if (i % PER_IMAGE == 0)
			make_image(i / PER_IMAGE);
		pendings = 0;
		make_script();
		pid = start(&output);
		watch(pid, output);
		close(output);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		check_image();
	}
	print_message("%u rounds, %u flushes, %u writes\n", rounds, flushes, newest);
	assert_true(flushes > 0);
}

static int remove_all(void **state)
{
	(void)state;
	return shell("rm -rf %s", directory);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_killed) };

	if (argc > 1)
		rounds = (unsigned)atoi(argv[1]);
	srandom((unsigned)getpid());
	return cmocka_run_group_tests(tests, directory_make, remove_all);
}
