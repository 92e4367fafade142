/*
 * crowded.c - those who listen on Unix sockets in a process that has no descriptor left: nobody
 * spins, and who waits is admitted once there is room.
 *
 * accept4() is this file's own, so that it can fail and be counted.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/hub.h"
#include "backend/unix_socket.h"
#include "backend/vport.h"
#include "backend/vsock.h"
#include "host/host.h"
#include "test/directory.h"
#include "test/unit/fake_engine.h"

#define SECONDS 60

static char path[100];
static atomic_uint asked, admitted;
static atomic_bool full;

int accept4(int fd, struct sockaddr *at, socklen_t *bytes, int flags)
{
	int got;

	asked++;
	if (full) {
		errno = EMFILE;
		return -1;
	}
	got = (int)syscall(SYS_accept4, fd, at, bytes, flags);
	if (got >= 0)
		admitted++;
	return got;
}

static void wait_for(const atomic_uint *what, unsigned least)
{
	uint64_t end = host_monotonic_ns() + SECONDS * UINT64_C(1000000000);

	while (atomic_load(what) < least) {
		assert_true(host_monotonic_ns() < end);
		usleep(1000);
	}
}

/* Somebody listens at `path`, and nothing else happens. */
static void check(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	uint64_t begin;
	unsigned most;

	strcpy(at.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	wait_for(&asked, 1);
	begin = host_monotonic_ns();
	usleep(400000);
	/* Once in a while, however late this thread is. */
	most = (unsigned)((host_monotonic_ns() - begin) / (UNIX_CROWDED_MS * 1000000ul)) + 3;
	assert_in_range(asked, 1, most);
	full = false;
	wait_for(&admitted, 1);
	close(fd);
}

static int begin(void **state)
{
	(void)state;
	asked = admitted = 0;
	full = true;
	return 0;
}

static void test_switch(void **state)
{
	struct fail why;
	int listener = unix_listen("switch", path, &why);
	struct hub *hub = hub_start(listener, path, &why);

	(void)state;
	assert_non_null(hub);
	check();
	hub_stop(hub);
	unlink(path);
}

static void fake_reset(struct device *dev)
{
	(void)dev;
}

static const struct field no_fields[] = { FIELD_END };
static const struct device_ops fake_ops = { .type = "guest",
					    .reset = fake_reset,
					    .state = no_fields };

static struct device *add_device(struct vm *vm)
{
	struct device *dev = host_alloc(sizeof(*dev));

	device_add(vm, dev, &fake_ops, "fake");
	return dev;
}

static void test_vsock(void **state)
{
	struct vm *vm = fake_vm(false);
	struct fail why;
	struct vsock *v = vsock_open(path, &why);

	(void)state;
	assert_non_null(v);
	assert_int_equal(vsock_start(v, add_device(vm), &why), 0);
	check();
	vsock_close(v);
	vm_close(vm);
}

static void test_port(void **state)
{
	struct vm *vm = fake_vm(false);
	char words[120];
	struct fail why;
	struct vport *p;

	(void)state;
	snprintf(words, sizeof(words), "p=socket:%s", path);
	p = vport_open(words, &why);
	assert_non_null(p);
	assert_int_equal(vport_start(p, add_device(vm), 1, &why), 0);
	check();
	vport_close(p);
	vm_close(vm);
}

static int set_up(void **state)
{
	int err = directory_make(state);

	snprintf(path, sizeof(path), "%s/s", directory);
	return err;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_switch, begin),
		cmocka_unit_test_setup(test_vsock, begin),
		cmocka_unit_test_setup(test_port, begin),
	};

	return cmocka_run_group_tests(tests, set_up, directory_remove);
}
