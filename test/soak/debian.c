/*
 * debian.c - Debian 12 from its own disk, on each software engine: what test/guest/debian.c does,
 * and a reboot between. Real time, so the slow one needs a patient guest.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/debian.h"
#include "test/soak/each_engine.h"

/*
 * systemd gives up a device that is not there after a minute and a half of real time. Who comes
 * later than that under the interpreter, on a host that is busy otherwise, is not wrong but slow:
 * the guest gets the time it takes.
 */
static void give_time(struct debian *d)
{
	session_engine = "bt";
	debian_start_kernel(d);
	debian_login(d);
	debian_ask(d,
		   "mkdir /etc/systemd/system.conf.d && "
		   "printf "
		   "'[Manager]\\nDefaultTimeoutStartSec=15min\\nDefaultDeviceTimeoutSec=15min\\n' "
		   ">/etc/systemd/system.conf.d/time.conf",
		   "");
	debian_poweroff(d);
}

static void use(const char *engine)
{
	static struct debian d;

	debian_open(&d);
	if (strcmp(engine, "interp") == 0)
		give_time(&d);
	session_engine = engine;
	debian_start(&d);
	debian_menu(&d);
	debian_login(&d);
	debian_network(&d);
	debian_ask(&d, "echo kept >note", "");
	debian_type(&d, "reboot");
	debian_menu(&d);
	debian_login(&d);
	debian_ask(&d, "cat note", "kept");
	debian_network(&d);
	debian_well(&d);
	debian_poweroff(&d);

	debian_start_kernel(&d);
	debian_login(&d);
	debian_ask(&d, "cat note", "kept");
	debian_ask(&d, "findmnt -n -o SOURCE /", "/dev/vda1");
	debian_well(&d);
	debian_poweroff(&d);
	debian_close(&d);
}

ON_EACH_ENGINE(use)
