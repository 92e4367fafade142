/*
 * i8254.c - programmable interval timer (Intel 8254) and system control port B.
 *
 * Nothing is ticked. A counter remembers the clock pulse at which its counting
 * element was loaded and with what; count, OUT and the next change of OUT are
 * computed from those when asked. Only OUT 0 is watched by an alarm, since only
 * it is wired to an interrupt line.
 *
 * Not modelled: the value of the counting element between a control word and the
 * first count, and the sound of the speaker. A count of 1, illegal in modes 2 and
 * 3, is taken as 2.
 *
 * Spec: Intel 231164 (8254), "Operational description" and "Mode definitions".
 * Tested by test/device/i8254.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "device/bytes.h"
#include "device/i8254.h"
#include "device/ticks.h"
#include "machine/vm.h"

enum { REGION_COUNTERS, REGION_SPEAKER };
enum { ALARM_OUT0 };
enum { RW_LSB = 1, RW_MSB = 2, RW_BOTH = 3 };

#define NEVER UINT64_MAX /* a pulse that does not come */

/* Bits of the status byte (read-back command). */
#define STATUS_OUT        0x80
#define STATUS_NULL_COUNT 0x40

/* Bits of system control port B. */
#define PORTB_GATE2   0x01
#define PORTB_WRITE   0x0f /* gate, speaker data, parity and channel check enables */
#define PORTB_REFRESH 0x10
#define PORTB_OUT2    0x20
#define REFRESH_TICKS 18 /* memory refresh request every 15 us */

struct counter {
	uint8_t mode; /* 0 .. 5 */
	uint8_t bcd;
	uint8_t rw; /* RW_* */
	uint8_t gate;
	uint8_t write_high, low_byte; /* RW_BOTH: the low byte was written, and it was this */
	uint8_t read_high;            /* RW_BOTH: the next read gives the high byte */
	uint8_t count_latched, status_latched, status;
	uint16_t latch;
	uint16_t cr; /* count register, as written */

	uint8_t written;   /* a count was written since the control word */
	uint8_t loaded;    /* the counting element was loaded since then */
	uint8_t counting;  /* not held by GATE or by a half-written count */
	uint8_t low_first; /* mode 3: the cycle begins with OUT low; mode 1: OUT was low at the */
			   /* trigger */
	uint8_t pending;   /* cr will be loaded: at pulse pending_at, or (NEVER) by a trigger */
	uint32_t initial;  /* what the counting element was loaded with: 1 .. 65536 */
	uint64_t start;    /* counting: pulse at which it was loaded */
	uint64_t elapsed;  /* not counting: pulses counted since it was loaded */
	uint64_t pending_at;
};

struct i8254 {
	struct device dev;
	struct i8254_config config;
	struct counter counter[3];
	uint8_t port_b;
	uint8_t out0; /* level last given to the line */
};

static uint64_t pulse_now(struct i8254 *pit)
{
	return ticks_at(device_now(&pit->dev), I8254_HZ);
}

/* --- The counting element --- */

static uint32_t count_from_register(const struct counter *c)
{
	uint32_t n = c->cr;

	if (c->bcd)
		n = ((n >> 12) * 1000 + (n >> 8 & 15) * 100 + (n >> 4 & 15) * 10 + (n & 15)) %
		    10000;
	if (n == 0)
		return c->bcd ? 10000 : 65536;
	return n == 1 && (c->mode == 2 || c->mode == 3) ? 2 : n;
}

static uint64_t elapsed(const struct counter *c, uint64_t pulse)
{
	if (!c->counting)
		return c->elapsed;
	return pulse > c->start ? pulse - c->start : 0;
}

/* Mode 3: pulses of the half that OUT is high or low. */
static uint32_t half(const struct counter *c, bool high)
{
	return high ? (c->initial + 1) / 2 : c->initial / 2;
}

/* Mode 3: where in its half the counter is. Returns the level of OUT. */
static bool square_phase(const struct counter *c, uint64_t e, uint32_t *into)
{
	bool high = !c->low_first;
	uint32_t r = (uint32_t)(e % c->initial);

	if (r >= half(c, high)) {
		r -= half(c, high);
		high = !high;
	}
	*into = r;
	return high;
}

static uint16_t count_value(const struct counter *c, uint64_t pulse)
{
	uint64_t e = elapsed(c, pulse);
	uint32_t modulus = c->bcd ? 10000 : 65536, n = c->initial, into;

	switch (c->mode) {
	case 2: n -= (uint32_t)(e % n); break;
	case 3:
		square_phase(c, e, &into);
		n = (n & ~1u) - 2 * into;
		break;
	default: n = n + modulus - (uint32_t)(e % modulus); break;
	}
	n %= modulus;
	if (c->bcd)
		n = n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10;
	return (uint16_t)n;
}

static bool out_level(const struct counter *c, uint64_t pulse)
{
	uint64_t e = elapsed(c, pulse);
	uint32_t into;

	if (!c->loaded)
		return c->mode != 0;
	switch (c->mode) {
	case 0: return e >= c->initial && !c->write_high;
	case 1: return (pulse < c->start && !c->low_first) || e >= c->initial;
	case 2: return !c->gate || e % c->initial != c->initial - 1;
	case 3: return !c->gate || square_phase(c, e, &into);
	default: return e != c->initial;
	}
}

/* The pulse after `pulse` at which OUT next changes by counting alone; NEVER. */
static uint64_t next_change(const struct counter *c, uint64_t pulse)
{
	uint64_t e = elapsed(c, pulse);
	uint32_t r, n = c->initial;
	bool high;

	if (!c->loaded || !c->counting)
		return NEVER;
	switch (c->mode) {
	case 0: return e < n ? c->start + n : NEVER;
	case 1:
		if (pulse < c->start && !c->low_first)
			return c->start;
		return e < n ? c->start + n : NEVER;
	case 2: r = (uint32_t)(e % n); return c->start + e + (r < n - 1 ? n - 1 - r : 1);
	case 3: high = square_phase(c, e, &r); return c->start + e + half(c, high) - r;
	default: return e < n ? c->start + n : e == n ? c->start + n + 1 : NEVER;
	}
}

/* Loads the counting element at `pulse`, to count at once or when GATE allows. */
static void load(struct counter *c, uint64_t pulse, bool was_low)
{
	c->initial = count_from_register(c);
	c->loaded = 1;
	c->pending = 0;
	c->low_first = was_low;
	c->start = pulse;
	c->elapsed = 0;
	c->counting = c->gate || c->mode == 1 || c->mode == 5;
}

/* Takes over a count that waited for the end of a cycle (modes 2 and 3). */
static void settle(struct counter *c, uint64_t pulse)
{
	bool low;
	uint32_t into;

	if (!c->pending || !c->loaded || !c->counting || pulse < c->pending_at)
		return;
	low = c->mode == 3 && !square_phase(c, elapsed(c, c->pending_at), &into);
	load(c, c->pending_at, low);
}

/* --- Writing a count --- */

/* The end of the cycle (mode 2) or half cycle (mode 3) that is running at `pulse`. */
static uint64_t cycle_end(const struct counter *c, uint64_t pulse)
{
	uint64_t e = elapsed(c, pulse);
	uint32_t into;
	bool high;

	if (c->mode == 2)
		return c->start + e + c->initial - e % c->initial;
	high = square_phase(c, e, &into);
	return c->start + e + half(c, high) - into;
}

static void count_written(struct counter *c, uint16_t value, uint64_t pulse)
{
	c->cr = value;
	c->written = 1;
	switch (c->mode) {
	case 0:
	case 4: load(c, pulse + 1, false); break;
	case 1:
	case 5:
		c->pending = 1;
		c->pending_at = NEVER;
		break;
	default:
		if (!c->loaded) {
			load(c, pulse + 1, false);
			break;
		}
		c->pending = 1;
		c->pending_at = c->counting ? cycle_end(c, pulse) : NEVER;
		break;
	}
}

static void write_counter(struct counter *c, uint8_t value, uint64_t pulse)
{
	if (c->rw == RW_LSB) {
		count_written(c, value, pulse);
	} else if (c->rw == RW_MSB) {
		count_written(c, (uint16_t)(value << 8), pulse);
	} else if (c->write_high) {
		c->write_high = 0;
		count_written(c, (uint16_t)(value << 8 | c->low_byte), pulse);
	} else {
		c->low_byte = value;
		c->write_high = 1;
		if (c->mode == 0) { /* the first byte stops counting; OUT goes low */
			c->elapsed = elapsed(c, pulse);
			c->counting = 0;
		}
	}
}

/* --- Gates --- */

static void set_gate(struct counter *c, bool gate, uint64_t pulse)
{
	bool rises = gate && !c->gate;

	if (gate == c->gate)
		return;
	c->gate = gate;
	if (c->mode == 1 || c->mode == 5) {
		if (rises && c->written)
			load(c, pulse + 1, c->mode == 1 && !out_level(c, pulse));
		return;
	}
	if (!gate) {
		c->elapsed = elapsed(c, pulse);
		c->counting = 0;
		if (c->pending)
			c->pending_at = NEVER;
	} else if (c->loaded && (c->mode == 2 || c->mode == 3)) {
		load(c, pulse + 1, false);
	} else if (c->loaded && !(c->mode == 0 && c->write_high)) {
		c->start = pulse - c->elapsed;
		c->counting = 1;
	}
}

/* --- Control words and reading back --- */

static bool null_count(const struct counter *c, uint64_t pulse)
{
	return !c->loaded || c->pending || (c->counting && pulse < c->start);
}

static void latch_count(struct counter *c, uint64_t pulse)
{
	if (c->count_latched)
		return;
	c->latch = count_value(c, pulse);
	c->count_latched = 1;
}

static void latch_status(struct counter *c, uint64_t pulse)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)((out_level(c, pulse) ? STATUS_OUT : 0) |
			      (null_count(c, pulse) ? STATUS_NULL_COUNT : 0) | c->rw << 4 |
			      c->mode << 1 | c->bcd);
	c->status_latched = 1;
}

static void set_mode(struct counter *c, uint8_t word)
{
	uint8_t mode = word >> 1 & 7, gate = c->gate;

	*c = (struct counter){ .mode = mode > 5 ? mode - 4 : mode, /* 6, 7: bit 2 is ignored */
			       .bcd = word & 1,
			       .rw = word >> 4 & 3,
			       .gate = gate,
			       .initial = word & 1 ? 10000 : 65536 };
}

static void write_control(struct i8254 *pit, uint8_t word, uint64_t pulse)
{
	unsigned which = word >> 6;

	if (which < 3) {
		if ((word & 0x30) == 0)
			latch_count(&pit->counter[which], pulse);
		else
			set_mode(&pit->counter[which], word);
		return;
	}
	for (unsigned i = 0; i < 3; i++) { /* read-back command */
		if (!(word & 2 << i))
			continue;
		if (!(word & 0x20))
			latch_count(&pit->counter[i], pulse);
		if (!(word & 0x10))
			latch_status(&pit->counter[i], pulse);
	}
}

static uint8_t read_counter(struct counter *c, uint64_t pulse)
{
	uint16_t value = c->count_latched ? c->latch : count_value(c, pulse);
	bool high = c->rw == RW_MSB || (c->rw == RW_BOTH && c->read_high);

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->rw == RW_BOTH)
		c->read_high = !c->read_high;
	if (c->rw != RW_BOTH || high)
		c->count_latched = 0;
	return (uint8_t)(high ? value >> 8 : value);
}

/* --- The chip on its bus --- */

static void arm(struct i8254 *pit, uint64_t pulse)
{
	uint64_t at = next_change(&pit->counter[0], pulse);

	if (at != NEVER && at <= pulse)
		at = pulse + 1;
	device_alarm(&pit->dev, ALARM_OUT0, at == NEVER ? ALARM_NONE : ticks_to_ns(at, I8254_HZ));
}

static void drive_out0(struct i8254 *pit, bool level)
{
	pit->out0 = level;
	device_irq(&pit->dev, pit->config.gsi, level);
}

static uint64_t settle_all(struct i8254 *pit)
{
	uint64_t pulse = pulse_now(pit);

	for (unsigned i = 0; i < 3; i++)
		settle(&pit->counter[i], pulse);
	return pulse;
}

/* After anything that may have changed OUT 0. */
static void update(struct i8254 *pit, uint64_t pulse)
{
	bool level = out_level(&pit->counter[0], pulse);

	if (level != pit->out0)
		drive_out0(pit, level);
	arm(pit, pulse);
}

static void i8254_alarm(struct device *dev, unsigned which, uint64_t now)
{
	struct i8254 *pit = (struct i8254 *)dev;
	uint64_t pulse = settle_all(pit);

	(void)which;
	(void)now;
	/* OUT changed at the time that was set. If it is back already the alarm was late: the
	 * edge must still be seen. */
	if (out_level(&pit->counter[0], pulse) == pit->out0)
		drive_out0(pit, !pit->out0);
	update(pit, pulse);
}

static uint8_t read_byte(struct device *dev, unsigned region, unsigned off)
{
	struct i8254 *pit = (struct i8254 *)dev;
	uint64_t pulse = settle_all(pit);

	if (region == REGION_SPEAKER)
		return (uint8_t)(pit->port_b |
				 (out_level(&pit->counter[2], pulse) ? PORTB_OUT2 : 0) |
				 (pulse / REFRESH_TICKS & 1 ? PORTB_REFRESH : 0));
	return off < 3 ? read_counter(&pit->counter[off], pulse) : 0xff;
}

static void write_byte(struct device *dev, unsigned region, unsigned off, uint8_t value)
{
	struct i8254 *pit = (struct i8254 *)dev;
	uint64_t pulse = settle_all(pit);

	if (region == REGION_SPEAKER) {
		pit->port_b = value & PORTB_WRITE;
		set_gate(&pit->counter[2], value & PORTB_GATE2, pulse);
	} else if (off < 3) {
		write_counter(&pit->counter[off], value, pulse);
	} else {
		write_control(pit, value, pulse);
	}
	update(pit, pulse);
}

static uint64_t i8254_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	return bytes_read(dev, region, off, size, read_byte);
}

static void i8254_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			uint64_t value)
{
	bytes_write(dev, region, off, size, value, write_byte);
}

static void i8254_reset(struct device *dev)
{
	struct i8254 *pit = (struct i8254 *)dev;

	for (unsigned i = 0; i < 3; i++) {
		pit->counter[i].gate = i != 2;
		set_mode(&pit->counter[i], RW_BOTH << 4);
	}
	pit->port_b = 0;
	drive_out0(pit, 0);
	device_alarm(dev, ALARM_OUT0, ALARM_NONE);
}

/* --- State --- */

/* X(member): every member of struct counter. */
#define COUNTER_MEMBERS(X)                                                                         \
	X(mode)                                                                                    \
	X(bcd)                                                                                     \
	X(rw)                                                                                      \
	X(gate)                                                                                    \
	X(write_high)                                                                              \
	X(low_byte)                                                                                \
	X(read_high)                                                                               \
	X(count_latched)                                                                           \
	X(status_latched)                                                                          \
	X(status)                                                                                  \
	X(latch)                                                                                   \
	X(cr)                                                                                      \
	X(written)                                                                                 \
	X(loaded)                                                                                  \
	X(counting)                                                                                \
	X(low_first)                                                                               \
	X(pending)                                                                                 \
	X(initial)                                                                                 \
	X(start)                                                                                   \
	X(elapsed)                                                                                 \
	X(pending_at)

static const struct field i8254_fields[] = {
#define X(member) FIELD_EACH(i8254, counter, member, 1),
	COUNTER_MEMBERS(X)
#undef X
		FIELD(i8254, port_b, 1),
	FIELD(i8254, out0, 1), FIELD_END
};

static bool counter_valid(const struct counter *c, uint64_t pulse)
{
	uint8_t flags = c->bcd | c->gate | c->write_high | c->read_high | c->count_latched |
			c->status_latched | c->written | c->loaded | c->counting | c->low_first |
			c->pending;
	uint32_t most = c->bcd ? 10000 : 65536;

	if (flags > 1 || c->mode > 5 || c->rw < RW_LSB || c->rw > RW_BOTH)
		return false;
	if (c->initial < (c->mode == 2 || c->mode == 3 ? 2 : 1) || c->initial > most)
		return false;
	return c->counting ? c->start <= pulse + 1 : c->elapsed <= pulse;
}

static int i8254_loaded(struct device *dev, struct fail *why)
{
	struct i8254 *pit = (struct i8254 *)dev;
	uint64_t pulse = pulse_now(pit);

	for (unsigned i = 0; i < 3; i++)
		if (!counter_valid(&pit->counter[i], pulse))
			return fail(why, -EINVAL, "%s: counter %u is in no possible state", dev->id,
				    i);
	if (pit->out0 > 1 || pit->port_b & ~PORTB_WRITE)
		return fail(why, -EINVAL, "%s: impossible OUT 0 or port B", dev->id);
	device_irq(dev, pit->config.gsi, pit->out0);
	arm(pit, pulse);
	return 0;
}

static const struct device_ops i8254_ops = {
	.type = "i8254",
	.reset = i8254_reset,
	.read = i8254_read,
	.write = i8254_write,
	.alarm = i8254_alarm,
	.state = i8254_fields,
	.state_version = 1,
	.loaded = i8254_loaded,
};

int i8254_create(struct vm *vm, const struct i8254_config *config, struct fail *why)
{
	struct i8254 *pit = host_alloc(sizeof(*pit));
	int err;

	if (!pit)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	pit->config = *config;
	device_add(vm, &pit->dev, &i8254_ops, config->id);
	err = device_claim_ports(&pit->dev, REGION_COUNTERS, config->ports, 4, why);
	return err ? err
		   : device_claim_ports(&pit->dev, REGION_SPEAKER, config->speaker_port, 1, why);
}
