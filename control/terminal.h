/*
 * terminal.h - the user's terminal in raw mode, and always back.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_TERMINAL_H
#define CONTROL_TERMINAL_H

#include <stdbool.h>

/* Puts a terminal on standard input into raw mode; false: it is not a terminal. From then on
 * every way out of the process restores it: exit(), abort(), a crash, a fatal signal. Call
 * before any engine is opened: its fault handlers chain to these. */
bool terminal_raw(void);
void terminal_restore(void);
/* From now on, what every way out writes to standard output before it restores the terminal;
 * NULL: nothing. Not copied. */
void terminal_farewell(const char *text);
/* Raw again after the process was stopped and continued, if in the foreground. */
void terminal_continue(void);
/* The same for who was continued in the background: call it when keys arrive. */
void terminal_claim(void);

/* Are standard output and standard error one terminal? */
bool terminal_shared(void);

/* How large the one on standard output is. false: it does not say, or is none. */
bool terminal_size(unsigned *rows, unsigned *columns);

#endif
