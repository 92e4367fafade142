/*
 * vsock.h - guest sockets as Unix sockets of the host.
 *
 * The words of --vsock: SOCKET[,cid=N]. A program that connects to SOCKET and says "CONNECT PORT\n"
 * is connected to the guest's port and answered "OK NUMBER\n"; a guest that connects to port PORT
 * of the host (CID 2) reaches whoever listens on the Unix socket SOCKET_PORT.
 *
 * The seam to the device is machine/vsock.h. Tested by test/unit/vsock.c, test/guest/vsock.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_VSOCK_H
#define BACKEND_VSOCK_H

#include "host/fail.h"
#include "machine/vsock.h"

struct device;
struct vsock;

/* Checks the words only: 0 or -EINVAL. */
int vsock_check(const char *text, struct fail *why);
/* Listens on the socket. NULL and *why on failure. */
struct vsock *vsock_open(const char *text, struct fail *why);
uint32_t vsock_cid(const struct vsock *vsock);
struct vsock_backend vsock_backend(struct vsock *vsock);
/* Packets go to `dev` from here on. */
int vsock_start(struct vsock *vsock, struct device *dev, struct fail *why);
/* Ends the thread and all connections; call before the device is gone. NULL is allowed. */
void vsock_close(struct vsock *vsock);

#endif
