/*
 * version.h - the version, once.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BOARD_VERSION_H
#define BOARD_VERSION_H

#define TRAPEZE_VERSION "0.1.0"

#endif
