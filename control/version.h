/*
 * version.h - the version, once.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_VERSION_H
#define CONTROL_VERSION_H

#define TRAPEZE_VERSION "0.1.0"

#endif
