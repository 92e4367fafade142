/*
 * i8259.c - two cascaded programmable interrupt controllers (Intel 8259A).
 *
 * The request register is not a queue: in edge mode a rising input sets its bit,
 * and the input must stay high until the acknowledge, or the bit goes and the CPU
 * that was already interrupted gets the spurious vector 7. The slave is just
 * another device on one of the master's inputs.
 *
 * Edge or level is chosen per input by the edge/level control registers that
 * chipsets added; LTIM in ICW1 is ignored, as in those chipsets. Not modelled:
 * MCS-80 mode (vectors are always 8086 style), buffered mode, a cascade other
 * than the one that is wired.
 *
 * Spec: Intel 231468 (8259A), "Initialization command words", "Operation command
 * words"; Intel 290562 (82371AB), 4.2.5 for ELCR. Tested by test/device/i8259.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/bytes.h"
#include "device/i8259.h"
#include "machine/vm.h"

enum { REGION_MASTER, REGION_SLAVE, REGION_ELCR };
enum { MASTER, SLAVE };

/* What the next write to the data port is. */
enum { EXPECT_OCW1, EXPECT_ICW2, EXPECT_ICW3, EXPECT_ICW4 };

#define ICW1       0x10 /* D4 of a write to A0 = 0: it is ICW1 */
#define ICW1_SNGL  0x02
#define ICW1_IC4   0x01
#define ICW4_SFNM  0x10
#define ICW4_AEOI  0x02
#define OCW3       0x08 /* D3 of a write to A0 = 0 with D4 clear: it is OCW3 */
#define OCW3_ESMM  0x40
#define OCW3_SMM   0x20
#define OCW3_P     0x04
#define OCW3_RR    0x02
#define OCW3_RIS   0x01
#define POLL_INT   0x80
#define SPURIOUS   7
#define NO_REQUEST (-1)

struct chip {
	uint8_t irr, isr, imr;
	uint8_t lines; /* levels of the inputs */
	uint8_t elcr;  /* 1: level triggered */
	uint8_t icw1, icw2, icw4;
	uint8_t expect;      /* EXPECT_* */
	uint8_t ready;       /* an initialization sequence was completed */
	uint8_t lowest;      /* the input with the lowest priority now */
	uint8_t rotate_aeoi; /* rotate in automatic EOI mode */
	uint8_t special_mask;
	uint8_t poll;     /* the next read is a poll */
	uint8_t read_isr; /* OCW3: reads at A0 = 0 give ISR, not IRR */
};

struct i8259 {
	struct device dev;
	struct i8259_config config;
	struct chip chip[2];
	uint8_t intr; /* the master's INT pin as last seen: derived, so not saved */
};

/* --- Priority --- */

/* The set bit of `bits` with the highest priority, or NO_REQUEST; *rank: 0 is highest. */
static int highest(const struct chip *c, uint8_t bits, unsigned *rank)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned line = (c->lowest + 1 + i) & 7;

		if (bits >> line & 1) {
			*rank = i;
			return (int)line;
		}
	}
	*rank = 8;
	return NO_REQUEST;
}

/* The input for which the chip asserts INT, or NO_REQUEST. */
static int request(const struct i8259 *pic, unsigned which)
{
	const struct chip *c = &pic->chip[which];
	uint8_t blocking = c->isr;
	unsigned asked, served;
	int line;

	if (!c->ready)
		return NO_REQUEST;
	if (c->special_mask)
		blocking &= ~c->imr;
	if (which == MASTER && c->icw4 & ICW4_SFNM) /* the slave may interrupt its own service */
		blocking &= ~(1u << pic->config.cascade);
	line = highest(c, c->irr & ~c->imr, &asked);
	highest(c, blocking, &served);
	return asked < served ? line : NO_REQUEST;
}

static void set_input(struct chip *c, unsigned line, bool level)
{
	uint8_t bit = (uint8_t)(1u << line);

	if (!level) {
		c->lines &= ~bit;
		c->irr &= ~bit;
		return;
	}
	if (c->elcr & bit || !(c->lines & bit))
		c->irr |= bit;
	c->lines |= bit;
}

/* After any change: the slave's INT to the master, the master's to the processor. */
static void update(struct i8259 *pic)
{
	bool intr;

	set_input(&pic->chip[MASTER], pic->config.cascade, request(pic, SLAVE) != NO_REQUEST);
	intr = request(pic, MASTER) != NO_REQUEST;
	if (intr && !pic->intr)
		irq_notice(pic->dev.vm, 0);
	pic->intr = intr;
}

/* --- Acknowledge and end of interrupt --- */

/* The INTA cycle at one chip. Returns the input served; SPURIOUS when its request has gone. */
static unsigned acknowledge(struct i8259 *pic, unsigned which)
{
	struct chip *c = &pic->chip[which];
	int line = request(pic, which);
	uint8_t bit = (uint8_t)(1u << (line & 7));

	if (line == NO_REQUEST)
		return SPURIOUS;
	if (!(c->elcr & bit))
		c->irr &= ~bit;
	if (!(c->icw4 & ICW4_AEOI))
		c->isr |= bit;
	else if (c->rotate_aeoi)
		c->lowest = (uint8_t)line;
	/* INT drops during INTA, so that a further request is a new edge for the master. */
	if (which == SLAVE)
		set_input(&pic->chip[MASTER], pic->config.cascade, false);
	return (unsigned)line;
}

static uint8_t inta(void *arg)
{
	struct i8259 *pic = arg;
	bool real = request(pic, MASTER) != NO_REQUEST;
	unsigned line = acknowledge(pic, MASTER);
	uint8_t vector = (uint8_t)(pic->chip[MASTER].icw2 + line);

	if (real && line == pic->config.cascade)
		vector = (uint8_t)(pic->chip[SLAVE].icw2 + acknowledge(pic, SLAVE));
	pic->intr = 0; /* what is still asked for is announced anew */
	update(pic);
	return vector;
}

static bool intr_level(void *arg)
{
	return request(arg, MASTER) != NO_REQUEST;
}

/* OCW2: R, SL and EOI in bits 7-5, a level in bits 2-0. */
static void end_of_interrupt(struct chip *c, uint8_t value)
{
	bool rotate = value & 0x80, specific = value & 0x40, eoi = value & 0x20;
	uint8_t bits = c->special_mask ? c->isr & ~c->imr : c->isr;
	int line = value & 7;
	unsigned rank;

	if (!eoi && !specific) {
		c->rotate_aeoi = rotate;
		return;
	}
	if (eoi && !specific)
		line = highest(c, bits, &rank);
	if (line == NO_REQUEST)
		return;
	if (eoi)
		c->isr &= ~(1u << line);
	if (rotate)
		c->lowest = (uint8_t)line;
}

/* --- Registers --- */

static void start_initialization(struct chip *c, uint8_t value)
{
	/* An input that is high already needs a new edge; a level input just asks again. */
	*c = (struct chip){ .icw1 = value,
			    .lines = c->lines,
			    .elcr = c->elcr,
			    .irr = c->lines & c->elcr,
			    .icw2 = c->icw2,
			    .expect = EXPECT_ICW2,
			    .lowest = 7 };
}

static void write_command(struct chip *c, uint8_t value)
{
	if (value & ICW1) {
		start_initialization(c, value);
	} else if (value & OCW3) {
		if (value & OCW3_ESMM)
			c->special_mask = !!(value & OCW3_SMM);
		if (value & OCW3_P)
			c->poll = 1;
		else if (value & OCW3_RR)
			c->read_isr = value & OCW3_RIS;
	} else {
		end_of_interrupt(c, value);
	}
}

static void write_data(struct chip *c, uint8_t value)
{
	switch (c->expect) {
	case EXPECT_ICW2:
		c->icw2 = value & 0xf8;
		c->expect = c->icw1 & ICW1_SNGL ? EXPECT_ICW4 : EXPECT_ICW3;
		break;
	case EXPECT_ICW3: c->expect = EXPECT_ICW4; break; /* the cascade is as it is wired */
	case EXPECT_ICW4:
		c->icw4 = value & 0x1f;
		c->expect = EXPECT_OCW1;
		break;
	default: c->imr = value; return;
	}
	if (c->expect == EXPECT_ICW4 && !(c->icw1 & ICW1_IC4))
		c->expect = EXPECT_OCW1;
	c->ready = c->expect == EXPECT_OCW1;
}

static void write_elcr(struct i8259 *pic, unsigned which, uint8_t value)
{
	struct chip *c = &pic->chip[which];

	c->elcr = value & pic->config.elcr_set[which];
	c->irr = (c->irr & ~c->elcr) | (c->lines & c->elcr);
}

static uint8_t read_byte(struct device *dev, unsigned region, unsigned off)
{
	struct i8259 *pic = (struct i8259 *)dev;
	struct chip *c = &pic->chip[region & 1];
	uint8_t value;

	if (region == REGION_ELCR)
		return pic->chip[off].elcr;
	if (c->poll) {
		c->poll = 0;
		if (request(pic, region) == NO_REQUEST)
			return 0;
		value = (uint8_t)(POLL_INT | acknowledge(pic, region));
		update(pic);
		return value;
	}
	if (off == 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static void write_byte(struct device *dev, unsigned region, unsigned off, uint8_t value)
{
	struct i8259 *pic = (struct i8259 *)dev;

	if (region == REGION_ELCR)
		write_elcr(pic, off, value);
	else if (off == 0)
		write_command(&pic->chip[region], value);
	else
		write_data(&pic->chip[region], value);
	update(pic);
}

static uint64_t i8259_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	return bytes_read(dev, region, off, size, read_byte);
}

static void i8259_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			uint64_t value)
{
	bytes_write(dev, region, off, size, value, write_byte);
}

static void line_changed(void *arg, unsigned gsi, int level)
{
	struct i8259 *pic = arg;

	if (gsi >= 16 || gsi == pic->config.cascade)
		return;
	set_input(&pic->chip[gsi >> 3], gsi & 7, level);
	update(pic);
}

static void i8259_reset(struct device *dev)
{
	struct i8259 *pic = (struct i8259 *)dev;

	for (unsigned i = 0; i < 2; i++)
		pic->chip[i] = (struct chip){ .lowest = 7 };
	pic->intr = 0;
}

/* --- State --- */

/* X(member): every member of struct chip. */
#define CHIP_MEMBERS(X)                                                                            \
	X(irr)                                                                                     \
	X(isr)                                                                                     \
	X(imr)                                                                                     \
	X(lines)                                                                                   \
	X(elcr)                                                                                    \
	X(icw1)                                                                                    \
	X(icw2)                                                                                    \
	X(icw4)                                                                                    \
	X(expect)                                                                                  \
	X(ready)                                                                                   \
	X(lowest)                                                                                  \
	X(rotate_aeoi)                                                                             \
	X(special_mask)                                                                            \
	X(poll)                                                                                    \
	X(read_isr)

static const struct field i8259_fields[] = {
#define X(member) FIELD_EACH(i8259, chip, member, 1),
	CHIP_MEMBERS(X)
#undef X
		FIELD_END
};

static int i8259_loaded(struct device *dev, struct fail *why)
{
	struct i8259 *pic = (struct i8259 *)dev;

	for (unsigned i = 0; i < 2; i++) {
		const struct chip *c = &pic->chip[i];
		uint8_t flags = c->ready | c->rotate_aeoi | c->special_mask | c->poll | c->read_isr;

		if (c->expect > EXPECT_ICW4 || c->lowest > 7 || flags > 1 || c->icw2 & 7 ||
		    c->elcr & ~pic->config.elcr_set[i])
			return fail(why, -EINVAL, "%s: controller %u is in no possible state",
				    dev->id, i);
	}
	pic->intr = 0;
	update(pic);
	return 0;
}

static const struct device_ops i8259_ops = {
	.type = "i8259",
	.reset = i8259_reset,
	.read = i8259_read,
	.write = i8259_write,
	.state = i8259_fields,
	.state_version = 1,
	.loaded = i8259_loaded,
};

int i8259_create(struct vm *vm, const struct i8259_config *config, struct fail *why)
{
	struct i8259 *pic = host_alloc(sizeof(*pic));
	int err;

	if (!pic)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	pic->config = *config;
	device_add(vm, &pic->dev, &i8259_ops, config->id);
	err = device_claim_ports(&pic->dev, REGION_MASTER, config->master, 2, why);
	if (!err)
		err = device_claim_ports(&pic->dev, REGION_SLAVE, config->slave, 2, why);
	if (!err)
		err = device_claim_ports(&pic->dev, REGION_ELCR, config->elcr, 2, why);
	if (err)
		return err;
	if (!irq_add_sink(vm, line_changed, pic))
		return fail(why, -ENOSPC, "%s: no room for another interrupt controller",
			    config->id);
	vm->irq.extint_intr = intr_level;
	vm->irq.extint_inta = inta;
	vm->irq.extint_arg = pic;
	return 0;
}
