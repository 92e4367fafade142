/*
 * acpi_pm.h - ACPI fixed hardware: power-management timer, PM1 events and control.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef DEVICE_ACPI_PM_H
#define DEVICE_ACPI_PM_H

#include <stdbool.h>
#include <stdint.h>

#include "host/fail.h"

struct vm;
struct device;

#define ACPI_PM_TIMER_HZ 3579545u

/* What the ACPI tables (FADT, and \_S5 in the DSDT) must say in the same words. */
struct acpi_pm_config {
	const char *id;       /* "acpi" */
	uint16_t pm1_event;   /* PM1a_EVT_BLK: four ports, status and enable */
	uint16_t pm1_control; /* PM1a_CNT_BLK: two ports */
	uint16_t pm_timer;    /* PM_TMR_BLK: four ports */
	uint16_t smi_command; /* SMI_CMD, and after it the APM status byte */
	uint8_t acpi_enable;  /* value for SMI_CMD that sets SCI_EN */
	uint8_t acpi_disable; /* and clears it */
	uint8_t s5_type;      /* SLP_TYP of soft off: 0 .. 7 */
	bool timer_32bit;     /* TMR_VAL_EXT; else 24 bits */
	unsigned sci_gsi;
};

/* A one-byte message to device_post(): someone pressed the power button. */
#define ACPI_PM_POWER_BUTTON 1

/*
 * Adds the fixed hardware to `vm`; button presses go to device_post() on *out (which may
 * be NULL). 0; -ENOMEM; -EEXIST when a port is taken.
 */
int acpi_pm_create(struct vm *vm, const struct acpi_pm_config *config, struct device **out,
		   struct fail *why);

#endif
