/*
 * acpi_pm.c - ACPI fixed hardware: power-management timer, PM1 events and control.
 *
 * The timer is virtual time in another unit. Its only event, TMR_STS, is set each
 * time the top bit toggles; that is found out when status is looked at, and by an
 * alarm only while the guest asked for the interrupt. There is no firmware behind
 * the SMI command port: the two commands act at once.
 *
 * Not modelled: sleeping states other than S5, the global lock, bus-master and
 * wake events, general-purpose events (the block is empty).
 *
 * Spec: ACPI 6.4, 4.8.3 (fixed hardware) and 4.8.2 (SCI). Tested by test/device/acpi_pm.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/acpi_pm.h"
#include "device/bytes.h"
#include "device/ticks.h"
#include "machine/vm.h"

enum { REGION_EVENT, REGION_CONTROL, REGION_TIMER, REGION_SMI };
enum { ALARM_TIMER };

#define PM1_TMR      0x0001 /* the same bit in status and enable, as are the next */
#define PM1_GBL      0x0020
#define PM1_PWRBTN   0x0100
#define PM1_RTC      0x0400 /* enable only: the clock's alarm does not wake this machine */
#define PM1_STS_BITS (PM1_TMR | PM1_GBL | PM1_PWRBTN)
#define PM1_EN_BITS  (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)

#define PM1_SCI_EN   0x0001
#define PM1_BM_RLD   0x0002
#define PM1_SLP_TYP  0x1c00
#define PM1_SLP_EN   0x2000 /* write-only */
#define PM1_CNT_BITS (PM1_BM_RLD | PM1_SLP_TYP)

struct acpi_pm {
	struct device dev;
	struct acpi_pm_config config;
	uint16_t status, enable, control;
	uint8_t smi[2];   /* last command, and the byte software keeps beside it */
	uint64_t toggles; /* of the timer's top bit, as far as status knows */
};

static unsigned timer_bits(const struct acpi_pm *pm)
{
	return pm->config.timer_32bit ? 32 : 24;
}

static uint64_t timer_now(struct acpi_pm *pm)
{
	return ticks_at(device_now(&pm->dev), ACPI_PM_TIMER_HZ);
}

/* Brings TMR_STS up to date. */
static void sync_status(struct acpi_pm *pm)
{
	uint64_t toggles = timer_now(pm) >> (timer_bits(pm) - 1);

	if (toggles != pm->toggles)
		pm->status |= PM1_TMR;
	pm->toggles = toggles;
}

static void update(struct acpi_pm *pm)
{
	uint64_t next = (pm->toggles + 1) << (timer_bits(pm) - 1);
	bool watch = pm->enable & PM1_TMR && !(pm->status & PM1_TMR);

	device_irq(&pm->dev, pm->config.sci_gsi,
		   pm->control & PM1_SCI_EN && pm->status & pm->enable);
	device_alarm(&pm->dev, ALARM_TIMER,
		     watch ? ticks_to_ns(next, ACPI_PM_TIMER_HZ) : ALARM_NONE);
}

static void acpi_pm_alarm(struct device *dev, unsigned which, uint64_t now)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	(void)which;
	(void)now;
	sync_status(pm);
	update(pm);
}

static void acpi_pm_input(struct device *dev, const void *data, size_t bytes)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	if (bytes != 1 || *(const uint8_t *)data != ACPI_PM_POWER_BUTTON)
		return;
	pm->status |= PM1_PWRBTN;
	update(pm);
}

/* --- Registers, a byte at a time: byte `off` of each 16-bit one is bits 8 * off up --- */

static uint8_t read_event(struct acpi_pm *pm, unsigned off)
{
	uint16_t value = off < 2 ? pm->status : pm->enable;

	return (uint8_t)(value >> 8 * (off & 1));
}

static void write_event(struct acpi_pm *pm, unsigned off, uint8_t value)
{
	unsigned shift = 8 * (off & 1);

	if (off < 2) /* status: ones clear */
		pm->status &= ~(value << shift);
	else
		pm->enable = ((pm->enable & ~(0xff << shift)) | value << shift) & PM1_EN_BITS;
}

static void sleep_now(struct acpi_pm *pm)
{
	unsigned type = (pm->control & PM1_SLP_TYP) >> 10;

	if (type == pm->config.s5_type)
		device_request(&pm->dev, VM_POWEROFF, 0);
	else
		device_trace(&pm->dev, "sleep type %u is not S5: ignored", type);
}

static void write_control(struct acpi_pm *pm, unsigned off, uint8_t value)
{
	unsigned shift = 8 * off;
	uint16_t word = (uint16_t)((pm->control & ~(0xff << shift)) | value << shift);

	/* SCI_EN belongs to the firmware: it follows the SMI command alone. */
	pm->control = (pm->control & PM1_SCI_EN) | (word & PM1_CNT_BITS);
	if (word & PM1_SLP_EN)
		sleep_now(pm);
}

static void write_smi(struct acpi_pm *pm, unsigned off, uint8_t value)
{
	pm->smi[off] = value;
	if (off != 0)
		return;
	if (value == pm->config.acpi_enable)
		pm->control |= PM1_SCI_EN;
	else if (value == pm->config.acpi_disable)
		pm->control &= ~PM1_SCI_EN;
	else
		device_trace(&pm->dev, "SMI command 0x%02x: no firmware to take it", value);
}

static uint8_t read_byte(struct device *dev, unsigned region, unsigned off)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	switch (region) {
	case REGION_EVENT: return read_event(pm, off);
	case REGION_CONTROL: return (uint8_t)(pm->control >> 8 * off);
	default: return pm->smi[off];
	}
}

static void write_byte(struct device *dev, unsigned region, unsigned off, uint8_t value)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	switch (region) {
	case REGION_EVENT: write_event(pm, off, value); break;
	case REGION_CONTROL: write_control(pm, off, value); break;
	case REGION_SMI: write_smi(pm, off, value); break;
	default: break; /* the timer is read-only */
	}
}

static uint64_t acpi_pm_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;
	uint64_t mask = (UINT64_C(1) << 8 * size) - 1;

	if (region == REGION_TIMER) {
		uint64_t value = timer_now(pm) & ((UINT64_C(1) << timer_bits(pm)) - 1);

		return value >> 8 * off & mask;
	}
	sync_status(pm);
	update(pm);
	return bytes_read(dev, region, off, size, read_byte);
}

static void acpi_pm_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			  uint64_t value)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	sync_status(pm);
	bytes_write(dev, region, off, size, value, write_byte);
	update(pm);
}

static void acpi_pm_reset(struct device *dev)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	pm->status = pm->enable = pm->control = 0;
	pm->smi[0] = pm->smi[1] = 0;
	pm->toggles = timer_now(pm) >> (timer_bits(pm) - 1);
	update(pm);
}

/* --- State --- */

static const struct field acpi_pm_fields[] = {
	FIELD(acpi_pm, status, 1),    FIELD(acpi_pm, enable, 1),  FIELD(acpi_pm, control, 1),
	FIELD_ARRAY(acpi_pm, smi, 1), FIELD(acpi_pm, toggles, 1), FIELD_END
};

static int acpi_pm_loaded(struct device *dev, struct fail *why)
{
	struct acpi_pm *pm = (struct acpi_pm *)dev;

	if (pm->status & ~PM1_STS_BITS || pm->enable & ~PM1_EN_BITS ||
	    pm->control & ~(PM1_CNT_BITS | PM1_SCI_EN))
		return fail(why, -EINVAL, "%s: a PM1 register has impossible bits", dev->id);
	if (pm->toggles > timer_now(pm) >> (timer_bits(pm) - 1))
		return fail(why, -EINVAL, "%s: the timer is ahead of the clock", dev->id);
	update(pm);
	return 0;
}

static const struct device_ops acpi_pm_ops = {
	.type = "acpi_pm",
	.reset = acpi_pm_reset,
	.read = acpi_pm_read,
	.write = acpi_pm_write,
	.alarm = acpi_pm_alarm,
	.input = acpi_pm_input,
	.state = acpi_pm_fields,
	.state_version = 1,
	.loaded = acpi_pm_loaded,
};

int acpi_pm_create(struct vm *vm, const struct acpi_pm_config *config, struct device **out,
		   struct fail *why)
{
	struct acpi_pm *pm = host_alloc(sizeof(*pm));
	int err;

	if (!pm)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	pm->config = *config;
	device_add(vm, &pm->dev, &acpi_pm_ops, config->id);
	err = device_claim_ports(&pm->dev, REGION_EVENT, config->pm1_event, 4, why);
	if (!err)
		err = device_claim_ports(&pm->dev, REGION_CONTROL, config->pm1_control, 2, why);
	if (!err)
		err = device_claim_ports(&pm->dev, REGION_TIMER, config->pm_timer, 4, why);
	if (!err)
		err = device_claim_ports(&pm->dev, REGION_SMI, config->smi_command, 2, why);
	if (!err && out)
		*out = &pm->dev;
	return err;
}
