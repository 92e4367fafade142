/*
 * ns16550.c - universal asynchronous receiver/transmitter with FIFOs (NS 16550A).
 *
 * Bytes take no time on the wire: what the guest sends leaves at once, so the
 * transmitter is always empty again, and that event must still be seen as an edge.
 * What comes in waits in `wire`, the far end's side, until the receiver has room;
 * so only the guest's own loopback can overrun the receiver. Baud rate matters
 * for one thing, the receive time-out of four character times.
 *
 * Not modelled: parity, framing and break, DMA signalling (RXRDY, TXRDY).
 *
 * Spec: National Semiconductor PC16550D, section 8. Tested by test/device/ns16550.c.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "device/bytes.h"
#include "device/ns16550.h"
#include "device/ticks.h"
#include "machine/vm.h"

enum { ALARM_TIMEOUT };

#define FIFO_BYTES 16
#define WIRE_BYTES 8192             /* a power of two */
#define CREDIT     (WIRE_BYTES / 2) /* granted at most, so that a loaded wire and a fresh */
/* backend's credit fit together */
#define GRANT 256 /* credit is returned in portions of this */

/* Offsets. DLAB turns the first two into the divisor latch. */
enum { RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

/* clang-format off */
#define IER_ERBFI  0x01
#define IER_ETBEI  0x02
#define IER_ELSI   0x04
#define IER_EDSSI  0x08
#define IER_BITS   0x0f
#define IIR_NONE    0x01
#define IIR_MODEM   0x00
#define IIR_THRE    0x02
#define IIR_DATA    0x04
#define IIR_LINE    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFOS   0xc0
#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_KEPT     0xc9 /* enable, DMA mode, trigger */
#define LCR_DLAB   0x80
#define MCR_DTR    0x01
#define MCR_RTS    0x02
#define MCR_OUT1   0x04
#define MCR_OUT2   0x08
#define MCR_LOOP   0x10
#define MCR_BITS   0x1f
#define LSR_DR     0x01
#define LSR_OE     0x02
#define LSR_THRE   0x20
#define LSR_TEMT   0x40
#define MSR_DELTAS 0x0f
#define MSR_TERI   0x04
#define MSR_CTS    0x10
#define MSR_DSR    0x20
#define MSR_RI     0x40
#define MSR_DCD    0x80
/* clang-format on */

struct ns16550 {
	struct device dev;
	struct ns16550_config config;

	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr, dll, dlm;
	uint8_t thre;    /* THRE interrupt is pending */
	uint8_t timeout; /* receive time-out is pending */
	uint8_t fifo[FIFO_BYTES];
	uint8_t fifo_first, fifo_count;
	uint64_t timeout_at; /* virtual ns, or ALARM_NONE */
	uint8_t wire[WIRE_BYTES];
	uint16_t wire_first, wire_count;

	uint32_t credit; /* granted to the backend and not yet used: the host's side, not state */
};

/* --- Interrupts --- */

static unsigned trigger(const struct ns16550 *u)
{
	static const uint8_t level[4] = { 1, 4, 8, 14 };

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The highest pending and enabled interrupt, as in the low four bits of IIR. */
static uint8_t interrupt_id(const struct ns16550 *u)
{
	if (u->ier & IER_ELSI && u->lsr & LSR_OE)
		return IIR_LINE;
	if (u->ier & IER_ERBFI && u->fifo_count >= trigger(u))
		return IIR_DATA;
	if (u->ier & IER_ERBFI && u->timeout)
		return IIR_TIMEOUT;
	if (u->ier & IER_ETBEI && u->thre)
		return IIR_THRE;
	if (u->ier & IER_EDSSI && u->msr & MSR_DELTAS)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_line(struct ns16550 *u)
{
	bool open = !u->config.out2_gates || (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	device_irq(&u->dev, u->config.gsi, open && interrupt_id(u) != IIR_NONE);
}

/* --- Receiving --- */

/* Four times a character: start, data, parity and stop bits of 16 clocks * divisor each. */
static uint64_t timeout_ns(const struct ns16550 *u)
{
	uint64_t divisor = u->dlm << 8 | u->dll;
	unsigned bits = 1 + 5 + (u->lcr & 3) + !!(u->lcr & 8) + 1 + !!(u->lcr & 4);

	return ticks_to_ns(4 * bits * 16 * (divisor ? divisor : 1), u->config.clock_hz);
}

/* Every arrival and every read of the FIFO starts the time-out afresh. */
static void restart_timeout(struct ns16550 *u)
{
	bool wanted = u->fcr & FCR_ENABLE && u->fifo_count;

	u->timeout = 0;
	u->timeout_at = wanted ? device_now(&u->dev) + timeout_ns(u) : ALARM_NONE;
	device_alarm(&u->dev, ALARM_TIMEOUT, u->timeout_at);
}

static void ns16550_alarm(struct device *dev, unsigned which, uint64_t now)
{
	struct ns16550 *u = (struct ns16550 *)dev;

	(void)which;
	(void)now;
	u->timeout_at = ALARM_NONE;
	u->timeout = 1;
	update_line(u);
}

/* One character out of the shift register. */
static void receive(struct ns16550 *u, uint8_t value)
{
	unsigned room = u->fcr & FCR_ENABLE ? FIFO_BYTES : 1;

	if (u->fifo_count == room) {
		u->lsr |= LSR_OE;
		if (room == 1) /* without FIFOs the new character replaces the old */
			u->fifo[u->fifo_first] = value;
		return;
	}
	u->fifo[(u->fifo_first + u->fifo_count++) % FIFO_BYTES] = value;
	restart_timeout(u);
}

static void grant(struct ns16550 *u)
{
	uint32_t taken = u->wire_count + u->credit;
	uint32_t more = taken < CREDIT ? CREDIT - taken : 0;

	if (!u->config.backend.room || more < GRANT)
		return;
	u->credit += more;
	u->config.backend.room(u->config.backend.arg, more);
}

/* Lets bytes from the wire into the receiver while it has room. */
static void pump(struct ns16550 *u)
{
	unsigned room = u->fcr & FCR_ENABLE ? FIFO_BYTES : 1;

	if (u->mcr & MCR_LOOP || (u->config.rts_holds && !(u->mcr & MCR_RTS)))
		return;
	while (u->wire_count && u->fifo_count < room) {
		receive(u, u->wire[u->wire_first]);
		u->wire_first = (u->wire_first + 1) % WIRE_BYTES;
		u->wire_count--;
	}
	grant(u);
}

static void ns16550_input(struct device *dev, const void *data, size_t bytes)
{
	struct ns16550 *u = (struct ns16550 *)dev;
	const uint8_t *from = data;

	u->credit -= bytes < u->credit ? (uint32_t)bytes : u->credit;
	if (bytes > (size_t)(WIRE_BYTES - u->wire_count)) {
		device_trace(dev, "%zu bytes of input beyond the room granted", bytes);
		bytes = WIRE_BYTES - u->wire_count;
	}
	for (size_t i = 0; i < bytes; i++)
		u->wire[(u->wire_first + u->wire_count++) % WIRE_BYTES] = from[i];
	pump(u);
	update_line(u);
}

static void clear_receiver(struct ns16550 *u)
{
	u->fifo_first = 0;
	u->fifo_count = 0;
	restart_timeout(u);
}

static uint8_t read_rbr(struct ns16550 *u)
{
	uint8_t value = u->fifo[u->fifo_first];

	if (u->fifo_count == 0)
		return value;
	u->fifo_count--;
	if (u->fcr & FCR_ENABLE)
		u->fifo_first = (u->fifo_first + 1) % FIFO_BYTES;
	restart_timeout(u);
	pump(u);
	return value;
}

/* --- Sending --- */

static void write_thr(struct ns16550 *u, uint8_t value)
{
	/* Full for no time at all: the interrupt goes away and comes back. */
	u->thre = 0;
	update_line(u);
	if (u->mcr & MCR_LOOP)
		receive(u, value);
	else if (u->config.backend.write)
		u->config.backend.write(u->config.backend.arg, &value, 1);
	u->thre = 1;
}

/* --- Modem lines --- */

/* The inputs, as bits 7-4 of MSR: from the far end, or from MCR in loopback. */
static uint8_t modem_inputs(const struct ns16550 *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uint8_t)((u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
			 (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void update_modem(struct ns16550 *u)
{
	uint8_t now = modem_inputs(u), changed = (now ^ u->msr) & 0xf0;
	uint8_t deltas = changed >> 4;

	if (now & MSR_RI) /* only the end of a ring counts */
		deltas &= ~MSR_TERI;
	u->msr = (uint8_t)(now | (u->msr & MSR_DELTAS) | deltas);
}

/* --- Registers --- */

static void write_fcr(struct ns16550 *u, uint8_t value)
{
	bool toggled = (u->fcr ^ value) & FCR_ENABLE;

	/* The other bits count only together with the enable bit. */
	u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
	if (toggled || (value & FCR_ENABLE && value & FCR_CLEAR_RX))
		clear_receiver(u);
	pump(u);
}

static void write_ier(struct ns16550 *u, uint8_t value)
{
	uint8_t old = u->ier;

	u->ier = value & IER_BITS;
	if (u->ier & ~old & IER_ETBEI) /* enabled while the holding register is empty */
		u->thre = 1;
}

static uint8_t read_iir(struct ns16550 *u)
{
	uint8_t id = interrupt_id(u);

	if (id == IIR_THRE)
		u->thre = 0;
	return (uint8_t)(id | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0));
}

static uint8_t read_lsr(struct ns16550 *u)
{
	uint8_t value = (uint8_t)(u->lsr | LSR_THRE | LSR_TEMT | (u->fifo_count ? LSR_DR : 0));

	u->lsr = 0;
	return value;
}

static uint8_t read_msr(struct ns16550 *u)
{
	uint8_t value = u->msr;

	u->msr &= ~MSR_DELTAS;
	return value;
}

static uint8_t read_register(struct ns16550 *u, unsigned off)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (off) {
	case RBR_THR: return dlab ? u->dll : read_rbr(u);
	case IER: return dlab ? u->dlm : u->ier;
	case IIR_FCR: return read_iir(u);
	case LCR: return u->lcr;
	case MCR: return u->mcr;
	case LSR: return read_lsr(u);
	case MSR: return read_msr(u);
	default: return u->scr;
	}
}

static void write_register(struct ns16550 *u, unsigned off, uint8_t value)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (off) {
	case RBR_THR:
		if (dlab)
			u->dll = value;
		else
			write_thr(u, value);
		break;
	case IER:
		if (dlab)
			u->dlm = value;
		else
			write_ier(u, value);
		break;
	case IIR_FCR: write_fcr(u, value); break;
	case LCR: u->lcr = value; break;
	case MCR:
		u->mcr = value & MCR_BITS;
		update_modem(u);
		pump(u);
		break;
	case SCR: u->scr = value; break;
	default: break; /* LSR and MSR: written only in the factory's tests */
	}
}

static uint8_t read_byte(struct device *dev, unsigned region, unsigned off)
{
	struct ns16550 *u = (struct ns16550 *)dev;
	uint8_t value = read_register(u, off);

	(void)region;
	update_line(u);
	return value;
}

static void write_byte(struct device *dev, unsigned region, unsigned off, uint8_t value)
{
	struct ns16550 *u = (struct ns16550 *)dev;

	(void)region;
	write_register(u, off, value);
	update_line(u);
}

static uint64_t ns16550_read(struct device *dev, unsigned region, uint64_t off, unsigned size)
{
	return bytes_read(dev, region, off, size, read_byte);
}

static void ns16550_write(struct device *dev, unsigned region, uint64_t off, unsigned size,
			  uint64_t value)
{
	bytes_write(dev, region, off, size, value, write_byte);
}

/* Master reset. What is on the wire stays there: the far end was not reset. */
static void ns16550_reset(struct device *dev)
{
	struct ns16550 *u = (struct ns16550 *)dev;

	u->ier = u->fcr = u->lcr = u->mcr = u->lsr = 0;
	u->thre = 0;
	u->msr = modem_inputs(u);
	clear_receiver(u);
	update_line(u);
}

/* --- State --- */

static const struct field ns16550_fields[] = { FIELD(ns16550, ier, 1),
					       FIELD(ns16550, fcr, 1),
					       FIELD(ns16550, lcr, 1),
					       FIELD(ns16550, mcr, 1),
					       FIELD(ns16550, lsr, 1),
					       FIELD(ns16550, msr, 1),
					       FIELD(ns16550, scr, 1),
					       FIELD(ns16550, dll, 1),
					       FIELD(ns16550, dlm, 1),
					       FIELD(ns16550, thre, 1),
					       FIELD(ns16550, timeout, 1),
					       FIELD_ARRAY(ns16550, fifo, 1),
					       FIELD(ns16550, fifo_first, 1),
					       FIELD(ns16550, fifo_count, 1),
					       FIELD(ns16550, timeout_at, 1),
					       FIELD_ARRAY(ns16550, wire, 1),
					       FIELD(ns16550, wire_first, 1),
					       FIELD(ns16550, wire_count, 1),
					       FIELD_END };

static int ns16550_loaded(struct device *dev, struct fail *why)
{
	struct ns16550 *u = (struct ns16550 *)dev;
	unsigned room = u->fcr & FCR_ENABLE ? FIFO_BYTES : 1;

	if (u->fifo_first >= FIFO_BYTES || u->fifo_count > room || u->wire_first >= WIRE_BYTES ||
	    u->wire_count > WIRE_BYTES)
		return fail(why, -EINVAL, "%s: a FIFO holds more than it can", dev->id);
	if (u->ier & ~IER_BITS || u->fcr & ~FCR_KEPT || (!(u->fcr & FCR_ENABLE) && u->fcr) ||
	    u->mcr & ~MCR_BITS || u->lsr & ~LSR_OE || (u->thre | u->timeout) > 1)
		return fail(why, -EINVAL, "%s: a register has impossible bits", dev->id);
	if (u->fifo_count == 0 && (u->timeout || u->timeout_at != ALARM_NONE))
		return fail(why, -EINVAL, "%s: a time-out waits on an empty FIFO", dev->id);
	device_alarm(dev, ALARM_TIMEOUT, u->timeout_at);
	update_line(u);
	return 0;
}

static const struct device_ops ns16550_ops = {
	.type = "ns16550",
	.reset = ns16550_reset,
	.read = ns16550_read,
	.write = ns16550_write,
	.alarm = ns16550_alarm,
	.input = ns16550_input,
	.state = ns16550_fields,
	.state_version = 1,
	.loaded = ns16550_loaded,
};

int ns16550_create(struct vm *vm, const struct ns16550_config *config, struct device **out,
		   struct fail *why)
{
	struct ns16550 *u = host_alloc(sizeof(*u));
	int err;

	if (!u)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	u->config = *config;
	device_add(vm, &u->dev, &ns16550_ops, config->id);
	err = device_claim_ports(&u->dev, 0, config->ports, 8, why);
	if (err)
		return err;
	if (out)
		*out = &u->dev;
	grant(u);
	return 0;
}
