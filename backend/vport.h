/*
 * vport.h - --port NAME=socket:PATH | NAME=file:FILE: what a named port of the guest's virtio
 * console leads to.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BACKEND_VPORT_H
#define BACKEND_VPORT_H

#include "host/fail.h"
#include "machine/vconsole.h"

struct device;
struct vport;

/* Does the word make sense? 0, or -EINVAL and a sentence. */
int vport_check(const char *text, struct fail *why);
/* Opens it: a socket listens from here on. NULL and a sentence on failure. */
struct vport *vport_open(const char *text, struct fail *why);
/* As long as it is open. */
const char *vport_name(const struct vport *p);
/* Somebody is always at its end: it is a file. */
bool vport_is_open(const struct vport *p);
struct vconsole_backend vport_backend(struct vport *p);
/* Starts its thread; what comes in goes to port `number` of the device. */
int vport_start(struct vport *p, struct device *dev, unsigned number, struct fail *why);
/* Nothing is posted any more: before the device goes. NULL is allowed. */
void vport_stop(struct vport *p);
/* After the device. What the guest wrote is in the file. NULL is allowed. */
void vport_close(struct vport *p);

#endif
