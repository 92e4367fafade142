/*
 * fail_ioctl.c - loaded before the C library: makes one of a program's calls to KVM fail.
 *
 * FAIL_IOCTL=N: the Nth ioctl of KVM's gives EIO. FAIL_OPEN=1: there is no /dev/kvm.
 * FAIL_COUNT=FILE: writes into it, at the end, how many such ioctls there were.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/kvm.h>

static int calls;

int ioctl(int fd, unsigned long request, ...)
{
	int (*next)(int, unsigned long, ...) =
		(int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	const char *at = getenv("FAIL_IOCTL");
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(request) == KVMIO &&
	    __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == (at ? atoi(at) : 0)) {
		errno = EIO;
		return -1;
	}
	return next(fd, request, arg);
}

__attribute__((destructor)) static void tell(void)
{
	const char *path = getenv("FAIL_COUNT");
	FILE *f = path ? fopen(path, "w") : NULL;

	if (f) {
		fprintf(f, "%d\n", calls);
		fclose(f);
	}
}

int open(const char *path, int flags, ...)
{
	int (*next)(const char *, int, ...) =
		(int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (getenv("FAIL_OPEN") && strcmp(path, "/dev/kvm") == 0) {
		errno = ENOENT;
		return -1;
	}
	return next(path, flags, mode);
}
