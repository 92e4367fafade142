/*
 * block_lock.c - image locks: who else uses this file (see block_file.h).
 *
 * An owner holds a shared lock on a byte for each thing it does (100 + what) and on a byte for
 * each thing it lets nobody else do (200 + what). All locks are shared, so taking them never
 * fails; whether somebody objects is asked afterwards, with a test for an exclusive lock. Two that
 * start in the same moment may both be refused, never both let in.
 *
 * A process that was killed keeps its locks until the kernel has ended the I/O it had asked for
 * (io_uring ends it after the process). That is right, since this I/O still changes the file; so
 * when no living owner is found, we wait for a while.
 *
 * The numbers are those of QEMU's "image locking", so that its tools and virtual machines see
 * ours. The kernel does not tell who holds such a lock; /proc/PID/fdinfo does.
 *
 * Tested by test/unit/block.c.
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "host/host.h"

#define DOES_BASE    100
#define DENIES_BASE  200
#define CONSISTENT   0 /* reads what must not change meanwhile */
#define WRITES       1
#define RESIZES      3
#define LOCKED_KINDS 4

#define LEFT_BEHIND_NS UINT64_C(3000000000)

static int shared_lock(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
	};

	while (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Does another open file hold a lock on this byte? */
static bool others_hold(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1
	};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Does this process hold open-file-description locks through its descriptor `fd`? */
static bool holds_locks(const char *pid, const char *fd)
{
	char path[300], line[200];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%.20s", pid, fd);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = strncmp(line, "lock:", 5) == 0 && strstr(line, "OFDLCK");
	fclose(f);
	return found;
}

static bool process_locks(const char *pid, const struct stat *file, int except)
{
	char path[300];
	bool found = false;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	d = opendir(path);
	if (!d)
		return false;
	while (!found && (e = readdir(d)) != NULL) {
		struct stat st;

		if (except >= 0 && atoi(e->d_name) == except)
			continue;
		found = isdigit((unsigned char)e->d_name[0]) &&
			fstatat(dirfd(d), e->d_name, &st, 0) == 0 && st.st_dev == file->st_dev &&
			st.st_ino == file->st_ino && holds_locks(pid, e->d_name);
	}
	closedir(d);
	return found;
}

/* The process that holds locks on the file of `fd`; 0: it cannot be seen from here. */
static long find_owner(int fd)
{
	struct dirent *e;
	struct stat st;
	long owner = 0;
	DIR *d = opendir("/proc");

	if (!d)
		return 0;
	if (fstat(fd, &st) == 0) {
		while (owner == 0 && (e = readdir(d)) != NULL) {
			bool ours = atol(e->d_name) == (long)getpid();

			if (isdigit((unsigned char)e->d_name[0]) &&
			    process_locks(e->d_name, &st, ours ? fd : -1))
				owner = atol(e->d_name);
		}
	}
	closedir(d);
	return owner;
}

/* Does somebody else deny what we do, or do what we deny? */
static bool objection(int fd, const bool *does, const bool *denies)
{
	for (int i = 0; i < LOCKED_KINDS; i++) {
		if ((does[i] && others_hold(fd, DENIES_BASE + i)) ||
		    (denies[i] && others_hold(fd, DOES_BASE + i)))
			return true;
	}
	return false;
}

int file_lock(int fd, const char *path, bool writer, struct fail *why)
{
	static const bool reader_does[LOCKED_KINDS] = { [CONSISTENT] = true };
	static const bool reader_denies[LOCKED_KINDS] = { [WRITES] = true, [RESIZES] = true };
	static const bool writer_does[LOCKED_KINDS] = {
		[CONSISTENT] = true, [WRITES] = true, [RESIZES] = true
	};
	static const bool writer_denies[LOCKED_KINDS] = {
		[CONSISTENT] = true, [WRITES] = true, [RESIZES] = true
	};
	const bool *does = writer ? writer_does : reader_does;
	const bool *denies = writer ? writer_denies : reader_denies;
	uint64_t give_up = host_monotonic_ns() + LEFT_BEHIND_NS;
	char who[64] = "another process";
	long owner;

	for (int i = 0; i < LOCKED_KINDS; i++) {
		if ((does[i] && shared_lock(fd, DOES_BASE + i)) ||
		    (denies[i] && shared_lock(fd, DENIES_BASE + i)))
			return 0; /* a file system without locks */
	}
	while (objection(fd, does, denies)) {
		struct timespec moment = { 0, 5000000 };

		owner = find_owner(fd);
		if (owner || host_monotonic_ns() >= give_up)
			goto busy;
		nanosleep(&moment, NULL);
	}
	return 0;
busy:
	if (owner)
		snprintf(who, sizeof(who), "process %ld", owner);
	return fail(why, -EBUSY, "%s: is in use by %s", path, who);
}
