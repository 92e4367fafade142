/*
 * memory.c - host memory on Linux: the heap for small things, mmap for large ones.
 *
 * What is mapped is unreserved: guests together may have more than the host, and each costs what
 * it touches. See ram.c for guest RAM.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "host/host.h"

#define HUGE_PAGE (UINT64_C(2) << 20)

static size_t whole_pages(size_t bytes)
{
	return (bytes + 4095) & ~(size_t)4095;
}

void *host_alloc(size_t bytes)
{
	size_t rounded = (bytes + 63) & ~(size_t)63;
	void *p;

	if (rounded < bytes)
		return NULL;
	p = aligned_alloc(64, rounded ? rounded : 64);
	if (p)
		memset(p, 0, rounded);
	return p;
}

void host_free(void *p)
{
	free(p);
}

void *host_map(size_t bytes)
{
	void *p;

	if (bytes == 0 || whole_pages(bytes) < bytes)
		return NULL;
	p = mmap(NULL, whole_pages(bytes), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	/* Refused by a kernel without them; then it is small pages. */
	if (bytes >= HUGE_PAGE)
		madvise(p, whole_pages(bytes), MADV_HUGEPAGE);
	return p;
}

void host_unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, whole_pages(bytes));
}

uint64_t host_memory_bytes(void)
{
	struct sysinfo info;

	if (sysinfo(&info) != 0)
		return UINT64_MAX;
	return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

/* Shared memory is given back by its file; of private memory there is none. */
void host_discard(void *p, size_t bytes)
{
	if (madvise(p, whole_pages(bytes), MADV_REMOVE) != 0 &&
	    madvise(p, whole_pages(bytes), MADV_DONTNEED) != 0)
		memset(p, 0, bytes);
}
