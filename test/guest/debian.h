/*
 * debian.h - Debian 12 installed on a disk (tools/guest/make-debian), and what a person does with
 * it: boot, log in, use the network, power off.
 *
 * Each user gets a disk of its own, a qcow2 image above the one that was made, so that what a
 * guest writes stays for its next boot and the one below is never changed.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_DEBIAN_H
#define TEST_DEBIAN_H

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "test/guest/session.h"

#define DEBIAN_SECONDS 900 /* a sanitizer build on a busy machine */
#define DEBIAN_PROMPT  "root@debian:~# "

struct debian {
	struct session session;
	char made[4096]; /* the directory that make-debian left */
	char directory[64], disk[80];
	int ssh_port;
};

/* A command of the host that must work; 77 skips all. */
static inline void debian_host(const char *command)
{
	int status;

	fflush(stdout);
	status = system(command);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		exit(77);
	if (status)
		fprintf(stderr, "status %x: %s\n", (unsigned)status, command);
	assert_int_equal(status, 0);
}

/* A socket on a free port of the loopback interface. */
static inline int debian_socket(int *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static inline void debian_open(struct debian *d)
{
	const char *trapeze = session_need("TRAPEZE");
	char command[9000];

	memset(d, 0, sizeof(*d));
	snprintf(d->made, sizeof(d->made), "%s/debian", session_need("GUEST"));
	snprintf(command, sizeof(command), "tools/guest/make-debian '%s' '%s'", d->made, trapeze);
	debian_host(command);
	strcpy(d->directory, "/tmp/trapeze-debian-XXXXXX");
	assert_non_null(mkdtemp(d->directory));
	snprintf(d->disk, sizeof(d->disk), "%s/disk.qcow2", d->directory);
	snprintf(command, sizeof(command), "'%s' image create --backing '%s/disk.qcow2' '%s'",
		 trapeze, d->made, d->disk);
	debian_host(command);
	close(debian_socket(&d->ssh_port));
}

/* The image is whole, as others see it, too; all is removed. */
static inline void debian_close(struct debian *d)
{
	char command[9000];

	snprintf(command, sizeof(command),
		 "'%s' image check '%s' && qemu-img check -q '%s' && rm -r '%s'",
		 session_need("TRAPEZE"), d->disk, d->disk, d->directory);
	debian_host(command);
}

/* Words of the command line after `trapeze run`; NULL ends them. */
static inline void debian_run(struct debian *d, const char *const words[])
{
	char *argv[24] = { (char *)session_need("TRAPEZE"), "run", "--engine",
			   (char *)session_engine };

	for (int n = 4; *words; words++)
		argv[n++] = (char *)*words;
	session_start(&d->session, argv);
}

/* From the disk, as `trapeze run disk.qcow2` does, with the guest's ssh at d->ssh_port. */
static inline void debian_start(struct debian *d)
{
	char forward[64];

	snprintf(forward, sizeof(forward), "user,forward=tcp:%d:22", d->ssh_port);
	debian_run(d, (const char *const[]){ d->disk, "--net", forward, NULL });
}

/* By the kernel, without a network, and with memory that is a file. */
static inline void debian_start_kernel(struct debian *d)
{
	char kernel[5000], initrd[5000];

	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", d->made);
	snprintf(initrd, sizeof(initrd), "%s/initrd", d->made);
	debian_run(d, (const char *const[]){ d->disk, "--kernel", kernel, "--initrd", initrd,
					     "--append", "root=/dev/vda1 console=ttyS0 quiet",
					     "--memory", "1G,shared", "--net", "none", NULL });
}

/* SeaBIOS has found the disk; GRUB's menu is there, and its first entry is taken. */
static inline void debian_menu(struct debian *d)
{
	session_expect(&d->session, "Booting from Hard Disk", DEBIAN_SECONDS);
	session_expect(&d->session, "GNU GRUB", DEBIAN_SECONDS);
	session_expect(&d->session, "messages shown", DEBIAN_SECONDS);
	session_type(&d->session, "\r");
}

static inline void debian_login(struct debian *d)
{
	session_expect(&d->session, "debian login: ", DEBIAN_SECONDS);
	session_type(&d->session, "root\r");
	session_expect(&d->session, "Password: ", DEBIAN_SECONDS);
	session_type(&d->session, "trapeze\r");
	session_expect(&d->session, DEBIAN_PROMPT, DEBIAN_SECONDS);
}

static inline void debian_type(struct debian *d, const char *command)
{
	session_type(&d->session, command);
	session_type(&d->session, "\r");
}

/* Has the guest say what it is asked; the echo of the command is not taken for the answer. */
static inline void debian_ask(struct debian *d, const char *command, const char *answer)
{
	debian_type(d, command);
	session_expect(&d->session, "\n", DEBIAN_SECONDS);
	session_expect(&d->session, answer, DEBIAN_SECONDS);
	session_expect(&d->session, DEBIAN_PROMPT, DEBIAN_SECONDS);
}

/* A web server for one request. */
static inline void *debian_serve(void *arg)
{
	static const char answer[] = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"
				     "from the host\n";
	int fd = accept(*(int *)arg, NULL, NULL);
	char request[1000];

	if (fd >= 0 && read(fd, request, sizeof(request)) > 0)
		assert_int_equal(write(fd, answer, sizeof(answer) - 1), sizeof(answer) - 1);
	close(fd);
	return NULL;
}

/* The guest has its address by DHCP, fetches a page from the host, and lets ssh in. */
static inline void debian_network(struct debian *d)
{
	int port, listener = debian_socket(&port);
	char command[9000];
	pthread_t server;

	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(pthread_create(&server, NULL, debian_serve, &listener), 0);
	debian_ask(d, "/lib/systemd/systemd-networkd-wait-online && ip -4 addr",
		   "inet 10.0.2.15/24");
	snprintf(command, sizeof(command), "wget -q -O - http://10.0.2.2:%d/", port);
	debian_ask(d, command, "from the host");
	pthread_join(server, NULL);
	close(listener);
	snprintf(command, sizeof(command),
		 "ssh -q -p %d -i '%s/key' -o StrictHostKeyChecking=no"
		 " -o UserKnownHostsFile=/dev/null -o BatchMode=yes root@127.0.0.1"
		 " 'cat >note.ssh; uname -n' </proc/self/status | grep -qx debian",
		 d->ssh_port, d->made);
	debian_host(command);
	debian_ask(d, "echo lines=$(grep -c Name: note.ssh)", "lines=1");
}

/* Neither the kernel nor systemd has a complaint. */
static inline void debian_well(struct debian *d)
{
	debian_ask(d, "echo bad=$(dmesg | grep -c -E 'BUG|WARNING|Call Trace')", "bad=0");
	debian_ask(d, "systemctl --failed | tail -1", "0 loaded units listed");
}

static inline void debian_poweroff(struct debian *d)
{
	int status;

	debian_type(d, "poweroff");
	status = session_end(&d->session, DEBIAN_SECONDS);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	session_check_terminal(&d->session);
	session_close(&d->session);
}

#endif
