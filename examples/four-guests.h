/*
 * four-guests.h - what the guests' code and the program around it agree on.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FOUR_GUESTS_H
#define FOUR_GUESTS_H

/* Guest-physical: four pages, which is all a guest has. */
#define GPA_DIRECTORY 0x0000
#define GPA_TABLE     0x1000
#define GPA_CODE      0x2000
#define GPA_DATA      0x3000
#define GUEST_BYTES   0x4000

/* Guest-linear: where the page tables put them, within the 4 MiB that one table can map. */
#define GVA_CODE  0x00040000
#define GVA_DATA  0x00080000
#define GVA_TABLE 0x000c0000 /* so that the prowler can try to map more */

/* TRAPEZE_CALL_*, in a form that an assembler takes. */
#define CALL_PRINT 0x54500001
#define CALL_EXIT  0x54500002

#endif
