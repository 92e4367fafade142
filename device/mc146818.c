/*
 * mc146818.c - real-time clock with battery-backed RAM (Motorola MC146818A).
 *
 * The date is not stored: it is virtual time plus a base that setting the clock
 * moves, and the ten time bytes are filled in when they are looked at. Flags of
 * register C are likewise found out from the time that passed since the last look;
 * an alarm runs only for an interrupt that is enabled and not yet flagged.
 *
 * Virtual time 0 is a divider pulse; `base_s` and `phase_ns` say which second that
 * was and how far into it. While SET is 1 or the divider is held, the time bytes
 * are plain RAM, and the base is computed from them when they run again.
 *
 * Not modelled: daylight saving (DSE is kept and ignored), the square wave, divider
 * settings for other crystals (they run as the usual one), impossible dates (bytes out
 * of range count as the nearest possible; a day beyond its month is one of the next).
 *
 * Spec: Motorola MC146818A, "Address map" to "Registers". Tested by test/device/mc146818.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "device/bytes.h"
#include "device/mc146818.h"
#include "device/ticks.h"
#include "machine/vm.h"

enum { ALARM_NEXT };

/* clang-format off */
enum {
	SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM,
	DAY_OF_WEEK, DAY, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D,
};
/* clang-format on */

#define A_UIP      0x80
#define A_DV_HELD  0x60 /* DV2 and DV1: the divider is held in reset */
#define A_RS       0x0f
#define B_SET      0x80
#define B_PIE      0x40 /* the three enables stand where the flags stand in register C */
#define B_AIE      0x20
#define B_UIE      0x10
#define B_SQWE     0x08
#define B_DM       0x04 /* 1: binary, 0: BCD */
#define B_24H      0x02
#define C_IRQF     0x80
#define C_FLAGS    0x70
#define C_PF       0x40
#define C_AF       0x20
#define C_UF       0x10
#define D_VRT      0x80
#define HOURS_PM   0x80
#define ALARM_ANY  0xc0 /* both bits set in an alarm byte: every value matches */
#define INDEX_BITS 0x7f
#define CRYSTAL_HZ 32768u
#define DAY_S      86400
#define HALF_S     500000000u
/* UIP rises 244 us before the update cycle of 1984 us at whose end the time changes. */
#define UIP_NS (244000u + 1984000u)

struct mc146818 {
	struct device dev;
	struct mc146818_config config;
	uint8_t index;
	uint8_t ram[MC146818_BYTES]; /* time bytes: valid while the clock does not run */
	int64_t base_s;              /* seconds since 1970 at virtual time 0 */
	uint32_t phase_ns;           /* and the part of a second, below NS_PER_S */
	uint64_t seen_ns;            /* flags are known up to this virtual time */
};

/* --- Calendar: days since 1970-01-01 and proleptic Gregorian dates --- */

struct date {
	int64_t year;
	unsigned month, day; /* 1 .. 12, 1 .. 31 */
};

/* Years are counted from March, so that the leap day is the last of its year. */
static int64_t days_from_date(struct date d)
{
	int64_t y = d.month > 2 ? d.year : d.year - 1;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (d.month > 2 ? d.month - 3 : d.month + 9) + 2) / 5 + d.day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static struct date date_from_days(int64_t days)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t of_era = z - era * 146097;
	int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
	unsigned m = (unsigned)(5 * of_year + 2) / 153;
	struct date d = { .month = m < 10 ? m + 3 : m - 9,
			  .day = (unsigned)of_year - (153 * m + 2) / 5 + 1 };

	d.year = y + era * 400 + (d.month <= 2);
	return d;
}

/* --- Time and its bytes --- */

/* The divider chain's own time: nanoseconds since the start of second base_s. */
static unsigned __int128 chain_ns(const struct mc146818 *rtc, uint64_t now)
{
	return (unsigned __int128)now + rtc->phase_ns;
}

static int64_t second_at(const struct mc146818 *rtc, uint64_t now)
{
	return rtc->base_s + (int64_t)(chain_ns(rtc, now) / NS_PER_S);
}

static bool held(const struct mc146818 *rtc)
{
	return (rtc->ram[REG_A] & A_DV_HELD) == A_DV_HELD;
}

static bool running(const struct mc146818 *rtc)
{
	return !held(rtc) && !(rtc->ram[REG_B] & B_SET);
}

static uint8_t encode(const struct mc146818 *rtc, unsigned value)
{
	return (uint8_t)(rtc->ram[REG_B] & B_DM ? value : value / 10 % 10 << 4 | value % 10);
}

static unsigned decode(const struct mc146818 *rtc, uint8_t byte)
{
	return rtc->ram[REG_B] & B_DM ? byte : (byte >> 4) * 10u + (byte & 15);
}

static uint8_t encode_hour(const struct mc146818 *rtc, unsigned hour)
{
	if (rtc->ram[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOURS_PM : 0);
}

static unsigned decode_hour(const struct mc146818 *rtc, uint8_t byte)
{
	if (rtc->ram[REG_B] & B_24H)
		return decode(rtc, byte);
	return decode(rtc, byte & ~HOURS_PM) % 12 + (byte & HOURS_PM ? 12 : 0);
}

/* Fills in the time bytes from the running clock. */
static void show_time(struct mc146818 *rtc, uint64_t now)
{
	int64_t s = second_at(rtc, now);
	int64_t days = (s >= 0 ? s : s - (DAY_S - 1)) / DAY_S;
	unsigned of_day = (unsigned)(s - days * DAY_S);
	struct date d = date_from_days(days);

	rtc->ram[SECONDS] = encode(rtc, of_day % 60);
	rtc->ram[MINUTES] = encode(rtc, of_day / 60 % 60);
	rtc->ram[HOURS] = encode_hour(rtc, of_day / 3600);
	/* 1 is Sunday; 1970-01-01 was a Thursday. */
	rtc->ram[DAY_OF_WEEK] = encode(rtc, (unsigned)((days % 7 + 7 + 4) % 7 + 1));
	rtc->ram[DAY] = encode(rtc, d.day);
	rtc->ram[MONTH] = encode(rtc, d.month);
	rtc->ram[YEAR] = encode(rtc, (unsigned)(d.year % 100));
	if (rtc->config.century)
		rtc->ram[rtc->config.century] = encode(rtc, (unsigned)(d.year / 100 % 100));
}

static unsigned clamp(unsigned value, unsigned least, unsigned most)
{
	return value < least ? least : value > most ? most : value;
}

/* The second that the time bytes name. Without a century byte years are 1970 to 2069. */
static int64_t read_time(const struct mc146818 *rtc)
{
	unsigned year = clamp(decode(rtc, rtc->ram[YEAR]), 0, 99);
	unsigned century = year < 70 ? 20 : 19;
	struct date d = { .month = clamp(decode(rtc, rtc->ram[MONTH]), 1, 12),
			  .day = clamp(decode(rtc, rtc->ram[DAY]), 1, 31) };

	if (rtc->config.century)
		century = clamp(decode(rtc, rtc->ram[rtc->config.century]), 0, 99);
	d.year = century * 100 + year;
	return days_from_date(d) * DAY_S + clamp(decode_hour(rtc, rtc->ram[HOURS]), 0, 23) * 3600 +
	       clamp(decode(rtc, rtc->ram[MINUTES]), 0, 59) * 60 +
	       clamp(decode(rtc, rtc->ram[SECONDS]), 0, 59);
}

/* The clock goes on from what the time bytes say; where in the second it is stays as it is. */
static void take_time(struct mc146818 *rtc, uint64_t now)
{
	rtc->base_s += read_time(rtc) - second_at(rtc, now);
}

/* The divider was released: the first update comes half a second later. */
static void start_divider(struct mc146818 *rtc, uint64_t now)
{
	rtc->phase_ns = (uint32_t)((NS_PER_S + HALF_S - now % NS_PER_S) % NS_PER_S);
}

/* --- Flags and interrupts --- */

static bool alarm_byte(const struct mc146818 *rtc, unsigned reg, unsigned value)
{
	uint8_t byte = rtc->ram[reg];

	if ((byte & ALARM_ANY) == ALARM_ANY)
		return true;
	return (reg == HOURS_ALARM ? decode_hour(rtc, byte) : decode(rtc, byte)) == value;
}

/* The first second after `s` that matches the alarm bytes; INT64_MAX when none ever does. */
static int64_t next_alarm(const struct mc146818 *rtc, int64_t s)
{
	int64_t limit = s + DAY_S;

	for (s++; s <= limit;) {
		unsigned of_day = (unsigned)((s % DAY_S + DAY_S) % DAY_S);

		if (!alarm_byte(rtc, HOURS_ALARM, of_day / 3600))
			s += 3600 - of_day % 3600;
		else if (!alarm_byte(rtc, MINUTES_ALARM, of_day / 60 % 60))
			s += 60 - of_day % 60;
		else if (!alarm_byte(rtc, SECONDS_ALARM, of_day % 60))
			s++;
		else
			return s;
	}
	return INT64_MAX;
}

/* Crystal cycles of one period of the periodic interrupt; 0: off. */
static uint32_t period(const struct mc146818 *rtc)
{
	unsigned rs = rtc->ram[REG_A] & A_RS;

	if (rs == 0 || held(rtc))
		return 0;
	return rs <= 2 ? 64u << rs : 1u << (rs - 1);
}

static uint64_t periods_at(const struct mc146818 *rtc, uint64_t now)
{
	return (uint64_t)(chain_ns(rtc, now) * CRYSTAL_HZ / NS_PER_S) / period(rtc);
}

/* Brings the flags of register C up to `now`. */
static void sync_flags(struct mc146818 *rtc, uint64_t now)
{
	uint8_t *c = &rtc->ram[REG_C];
	int64_t before = second_at(rtc, rtc->seen_ns), after = second_at(rtc, now);

	if (period(rtc) && periods_at(rtc, now) != periods_at(rtc, rtc->seen_ns))
		*c |= C_PF;
	if (running(rtc) && after > before) {
		*c |= C_UF;
		if (next_alarm(rtc, before) <= after)
			*c |= C_AF;
	}
	rtc->seen_ns = now;
}

/* Virtual time at which the divider chain reaches `chain` nanoseconds. */
static uint64_t when(const struct mc146818 *rtc, unsigned __int128 chain)
{
	chain -= rtc->phase_ns;
	return chain < ALARM_NONE ? (uint64_t)chain : ALARM_NONE;
}

static uint64_t when_second(const struct mc146818 *rtc, int64_t second)
{
	if (second == INT64_MAX)
		return ALARM_NONE;
	return when(rtc, (unsigned __int128)(second - rtc->base_s) * NS_PER_S);
}

static uint64_t when_period(const struct mc146818 *rtc, uint64_t now)
{
	unsigned __int128 cycles = (unsigned __int128)(periods_at(rtc, now) + 1) * period(rtc);

	return when(rtc, (cycles * NS_PER_S + CRYSTAL_HZ - 1) / CRYSTAL_HZ);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* After sync_flags() and any change: the line, and the next moment it can change. */
static void update(struct mc146818 *rtc, uint64_t now)
{
	uint8_t wanted = rtc->ram[REG_B] & ~rtc->ram[REG_C]; /* enabled, not yet flagged */
	uint64_t at = ALARM_NONE;
	bool irq = rtc->ram[REG_B] & rtc->ram[REG_C] & C_FLAGS;

	rtc->ram[REG_C] = (rtc->ram[REG_C] & C_FLAGS) | (irq ? C_IRQF : 0);
	if (wanted & B_PIE && period(rtc))
		at = when_period(rtc, now);
	if (wanted & B_UIE && running(rtc))
		at = earlier(at, when_second(rtc, second_at(rtc, now) + 1));
	if (wanted & B_AIE && running(rtc))
		at = earlier(at, when_second(rtc, next_alarm(rtc, second_at(rtc, now))));
	device_irq(&rtc->dev, rtc->config.gsi, irq);
	device_alarm(&rtc->dev, ALARM_NEXT, at);
}

static void mc146818_alarm(struct device *dev, unsigned which, uint64_t now)
{
	struct mc146818 *rtc = (struct mc146818 *)dev;

	(void)which;
	sync_flags(rtc, now);
	update(rtc, now);
}

/* --- Registers --- */

static bool is_time(const struct mc146818 *rtc, unsigned reg)
{
	if (reg && reg == rtc->config.century)
		return true;
	return reg <= YEAR && reg != SECONDS_ALARM && reg != MINUTES_ALARM && reg != HOURS_ALARM;
}

static uint8_t read_a(const struct mc146818 *rtc, uint64_t now)
{
	bool uip = running(rtc) && chain_ns(rtc, now) % NS_PER_S >= NS_PER_S - UIP_NS;

	return rtc->ram[REG_A] | (uip ? A_UIP : 0);
}

static uint8_t read_data(struct mc146818 *rtc, uint64_t now)
{
	unsigned reg = rtc->index;
	uint8_t value;

	if (is_time(rtc, reg) && running(rtc))
		show_time(rtc, now);
	if (reg == REG_A)
		return read_a(rtc, now);
	if (reg == REG_D)
		return D_VRT;
	value = rtc->ram[reg];
	if (reg == REG_C)
		rtc->ram[REG_C] = 0;
	return value;
}

/* Registers A and B may stop the clock, which leaves the time in its bytes, or start it. */
static void write_control(struct mc146818 *rtc, unsigned reg, uint8_t value, uint64_t now)
{
	bool ran = running(rtc), was_held = held(rtc);

	if (ran)
		show_time(rtc, now);
	if (reg == REG_A) {
		rtc->ram[REG_A] = value & ~A_UIP;
	} else {
		if (value & ~rtc->ram[REG_B] & B_SET)
			value &= ~B_UIE;
		rtc->ram[REG_B] = value;
	}
	if (was_held && !held(rtc))
		start_divider(rtc, now);
	if (!ran && running(rtc))
		take_time(rtc, now);
}

static void write_data(struct mc146818 *rtc, uint8_t value, uint64_t now)
{
	unsigned reg = rtc->index;

	switch (reg) {
	case REG_A:
	case REG_B: write_control(rtc, reg, value, now); return;
	case REG_C:
	case REG_D: return;
	default: break;
	}
	if (!is_time(rtc, reg) || !running(rtc)) {
		rtc->ram[reg] = value;
		return;
	}
	show_time(rtc, now);
	rtc->ram[reg] = value;
	take_time(rtc, now);
}

static uint8_t read_byte(struct device *dev, unsigned region, unsigned off)
{
	struct mc146818 *rtc = (struct mc146818 *)dev;
	uint64_t now = device_now(dev);
	uint8_t value;

	(void)region;
	if (off == 0)
		return 0xff; /* the index is write-only */
	sync_flags(rtc, now);
	update(rtc, now);
	value = read_data(rtc, now);
	update(rtc, now);
	return value;
}

static void write_byte(struct device *dev, unsigned region, unsigned off, uint8_t value)
{
	struct mc146818 *rtc = (struct mc146818 *)dev;
	uint64_t now = device_now(dev);

	(void)region;
	if (off == 0) {
		rtc->index = value & INDEX_BITS;
		return;
	}
	sync_flags(rtc, now);
	write_data(rtc, value, now);
	update(rtc, now);
}

static uint64_t mc146818_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	return bytes_read(dev, region, off, size, read_byte);
}

static void mc146818_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			   uint64_t value)
{
	bytes_write(dev, region, off, size, value, write_byte);
}

/* The RESET pin: time and RAM live on the battery, interrupts are switched off. */
static void mc146818_reset(struct device *dev)
{
	struct mc146818 *rtc = (struct mc146818 *)dev;

	rtc->index = 0;
	rtc->seen_ns = device_now(dev);
	rtc->ram[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	rtc->ram[REG_C] = 0;
	update(rtc, rtc->seen_ns);
}

/* --- State --- */

static const struct field mc146818_fields[] = {
	FIELD(mc146818, index, 1),    FIELD_ARRAY(mc146818, ram, 1), FIELD(mc146818, base_s, 1),
	FIELD(mc146818, phase_ns, 1), FIELD(mc146818, seen_ns, 1),   FIELD_END
};

/* Years 0 to 9999 and the age of the oldest machine: what base_s can come to. */
#define BASE_LIMIT (INT64_C(1) << 40)

static int mc146818_loaded(struct device *dev, struct fail *why)
{
	struct mc146818 *rtc = (struct mc146818 *)dev;
	uint64_t now = device_now(dev);

	if (rtc->index & ~INDEX_BITS || rtc->phase_ns >= NS_PER_S || rtc->seen_ns > now)
		return fail(why, -EINVAL, "%s: impossible index or divider", dev->id);
	if (rtc->base_s < -BASE_LIMIT || rtc->base_s > BASE_LIMIT)
		return fail(why, -EINVAL, "%s: the date is beyond any calendar", dev->id);
	if (rtc->ram[REG_A] & A_UIP)
		return fail(why, -EINVAL, "%s: impossible bits in register A", dev->id);
	update(rtc, now);
	return 0;
}

static const struct device_ops mc146818_ops = {
	.type = "mc146818",
	.reset = mc146818_reset,
	.read = mc146818_read,
	.write = mc146818_write,
	.alarm = mc146818_alarm,
	.state = mc146818_fields,
	.state_version = 1,
	.loaded = mc146818_loaded,
};

int mc146818_create(struct vm *vm, const struct mc146818_config *config, struct fail *why)
{
	struct mc146818 *rtc = host_alloc(sizeof(*rtc));

	if (!rtc)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	rtc->config = *config;
	rtc->config.century &= INDEX_BITS;
	if (config->ram)
		memcpy(rtc->ram, config->ram, sizeof(rtc->ram));
	rtc->ram[REG_A] = 0x26; /* 32768 Hz crystal, 1024 Hz: as firmware leaves it */
	rtc->ram[REG_B] = B_24H;
	rtc->base_s = (int64_t)(vm->clock.wall_base_ns / NS_PER_S);
	rtc->phase_ns = (uint32_t)(vm->clock.wall_base_ns % NS_PER_S);
	device_add(vm, &rtc->dev, &mc146818_ops, config->id);
	return device_claim_ports(&rtc->dev, 0, config->ports, 2, why);
}
