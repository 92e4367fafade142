/*
 * ram.c - a guest's RAM on Linux: one piece of memory for all of it, in pages of the size asked
 * for.
 *
 * Shared RAM is a file without a name (memfd): what shares it with another process needs no more
 * than the descriptor. Large pages are the host's: transparent ones, which the kernel makes where
 * it can and for which memory has to be private on most hosts, so that is the usual way; or
 * reserved ones, which exist or do not. All begins at a multiple of 2 MiB, so that a guest's large
 * page can be one of the host's.
 *
 * Spec: memfd_create(2), madvise(2), Linux Documentation/admin-guide/mm/transhuge.rst,
 * hugetlbpage.rst. Tested by test/unit/ram.c. SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/host.h"

#define LARGE (UINT64_C(2) << 20)

static size_t round_to(size_t bytes, size_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

/* Room in the address space, from a multiple of LARGE on; NULL: none. */
static uint8_t *reserve(size_t bytes)
{
	uint8_t *at, *first;

	if (bytes + LARGE < bytes)
		return NULL;
	at = mmap(NULL, bytes + LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		  0);
	if (at == MAP_FAILED)
		return NULL;
	first = at + (LARGE - (uintptr_t)at % LARGE) % LARGE;
	if (first > at)
		munmap(at, (size_t)(first - at));
	munmap(first + bytes, (size_t)(at + LARGE - first));
	return first;
}

/* The kernel takes the advice even where it never makes a large page. */
static bool never_transparent(void)
{
	char text[64] = "";
	int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	return n <= 0 || strstr(text, "[never]");
}

static int no_memory(size_t bytes, struct fail *why)
{
	return fail(why, -ENOMEM, "the host has no %llu MiB for guest memory",
		    (unsigned long long)(bytes >> 20));
}

static int map_over(struct host_ram *ram, int flags, struct fail *why)
{
	void *at = mmap(ram->at, ram->bytes, PROT_READ | PROT_WRITE, MAP_FIXED | flags, ram->fd, 0);

	return at == MAP_FAILED ? no_memory(ram->bytes, why) : 0;
}

static int map_file(struct host_ram *ram, struct fail *why)
{
	ram->fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (ram->fd < 0)
		return fail(why, -errno, "cannot make a file for guest memory: %s",
			    strerror(errno));
	if (ftruncate(ram->fd, (off_t)ram->bytes))
		return no_memory(ram->bytes, why);
	return map_over(ram, MAP_SHARED | MAP_NORESERVE, why);
}

static int map_usual(struct host_ram *ram, struct fail *why)
{
	int err = map_over(ram, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, why);

	if (!err) /* refused: then it is small ones */
		ram->huge =
			madvise(ram->at, ram->bytes, MADV_HUGEPAGE) == 0 && !never_transparent();
	return err;
}

static int map_transparent(struct host_ram *ram, struct fail *why)
{
	int err;

	if (never_transparent())
		return fail(why, -ENOTSUP,
			    "the host makes no transparent huge pages "
			    "(/sys/kernel/mm/transparent_hugepage/enabled)");
	err = map_over(ram, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, why);
	if (!err && madvise(ram->at, ram->bytes, MADV_HUGEPAGE))
		err = fail(why, -errno, "the host makes no transparent huge pages: %s",
			   strerror(errno));
	ram->huge = !err;
	return err;
}

static int map_reserved(struct host_ram *ram, struct fail *why)
{
	void *at = MAP_FAILED;

	ram->fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (ram->fd >= 0 && ftruncate(ram->fd, (off_t)ram->bytes) == 0)
		at = mmap(ram->at, ram->bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED,
			  ram->fd, 0);
	if (at == MAP_FAILED)
		return fail(why, -ENOMEM,
			    "the host has not reserved %llu huge pages of 2 MiB "
			    "(/proc/sys/vm/nr_hugepages)",
			    (unsigned long long)(ram->bytes / LARGE));
	return 0;
}

int host_ram_open(struct host_ram *ram, uint64_t bytes, enum host_pages pages, struct fail *why)
{
	static int (*const map[])(struct host_ram *, struct fail *) = {
		[HOST_PAGES_USUAL] = map_usual,
		[HOST_PAGES_SHARED] = map_file,
		[HOST_PAGES_TRANSPARENT] = map_transparent,
		[HOST_PAGES_RESERVED] = map_reserved,
	};
	int err;

	*ram = (struct host_ram){
		.fd = -1, .bytes = round_to(bytes, pages >= HOST_PAGES_TRANSPARENT ? LARGE : 4096)
	};
	ram->at = ram->bytes < bytes || !bytes ? NULL : reserve(ram->bytes);
	err = ram->at ? map[pages](ram, why) : no_memory(bytes, why);
	if (err)
		host_ram_close(ram);
	return err;
}

void host_ram_close(struct host_ram *ram)
{
	if (ram->at)
		munmap(ram->at, ram->bytes);
	if (ram->at && ram->fd >= 0)
		close(ram->fd);
	ram->at = NULL;
}
