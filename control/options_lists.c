/*
 * options_lists.c - the options that may be given several times, once all are known (see
 * options_lists.h).
 *
 * What one says is for the room that makes something of it; what several say together is looked at
 * here, before anything is opened.
 *
 * Tested by test/api/cli.
 * SPDX-License-Identifier: MIT
 */
#include "control/options_lists.h"

#include <errno.h>
#include <string.h>

#include "backend/net.h"
#include "backend/p9.h"
#include "backend/vport.h"
#include "backend/vsock.h"
#include "board/network.h"
#include "board/pc.h"
#include "control/disks.h"

static int check_disks(const struct run_options *o, struct fail *why)
{
	struct disk_word word;
	int err = 0;

	if (strcmp(o->on_enospc, "stop") != 0 && strcmp(o->on_enospc, "report") != 0)
		return fail(why, -EINVAL, "--on-enospc: '%s' is not one of: stop report",
			    o->on_enospc);
	if (o->disk.count > PC_DISKS)
		return fail(why, -EINVAL, "--disk: at most %d disks", PC_DISKS);
	for (unsigned i = 0; i < o->disk.count && !err; i++)
		err = disk_word_parse(&word, o->disk.text[i], why);
	return err;
}

int options_settle_networks(struct run_options *o, struct fail *why)
{
	if (o->net.count == 0 && o->image && !o->counted)
		o->net.text[o->net.count++] = "user";
	for (unsigned i = 0; i < o->net.count; i++)
		if (strcspn(o->net.text[i], ":,") == 4 && memcmp(o->net.text[i], "none", 4) == 0) {
			if (o->net.text[i][4])
				return fail(why, -EINVAL, "--net none: nothing follows, not '%s'",
					    o->net.text[i] + 4);
			if (o->net.count > 1)
				return fail(why, -EINVAL,
					    "--net none: not together with another --net");
			o->net.count = 0;
		}
	return 0;
}

static int check_networks(const struct run_options *o, struct fail *why)
{
	int err = 0;

	if (o->net.count > NETWORK_CARDS_MAX)
		return fail(why, -EINVAL, "--net: at most %d network cards", NETWORK_CARDS_MAX);
	for (unsigned i = 0; i < o->net.count && !err; i++)
		err = net_check(o->net.text[i], why);
	return err || !o->vsock ? err : vsock_check(o->vsock, why);
}

/* Where a directory's tag begins in the text of --share, a port's name in that of --port. */
static const char *tag_of(const char *text)
{
	return strrchr(text, ':') + 1;
}

static const char *name_of(const char *text)
{
	return text;
}

/* Two that the guest could not tell apart: a name goes on to `end`. */
static int check_names(const struct option_list *list, const char *(*begin)(const char *text),
		       const char *end, const char *what, struct fail *why)
{
	for (unsigned i = 1; i < list->count; i++) {
		const char *name = begin(list->text[i]);
		size_t bytes = strcspn(name, end);

		for (unsigned k = 0; k < i; k++) {
			const char *other = begin(list->text[k]);

			if (strcspn(other, end) == bytes && memcmp(other, name, bytes) == 0)
				return fail(why, -EINVAL, "%s '%.*s' is given twice", what,
					    (int)bytes, name);
		}
	}
	return 0;
}

static int check_shares(const struct run_options *o, struct fail *why)
{
	int err = 0;

	if (o->share.count > PC_SHARES)
		return fail(why, -EINVAL, "--share: at most %d directories", PC_SHARES);
	for (unsigned i = 0; i < o->share.count && !err; i++)
		err = p9_check(o->share.text[i], why);
	return err ? err : check_names(&o->share, tag_of, ",", "--share: the tag", why);
}

static int check_ports(const struct run_options *o, struct fail *why)
{
	int err = 0;

	if (o->port.count > PC_PORTS)
		return fail(why, -EINVAL, "--port: at most %d ports", PC_PORTS);
	for (unsigned i = 0; i < o->port.count && !err; i++)
		err = vport_check(o->port.text[i], why);
	return err ? err : check_names(&o->port, name_of, "=", "--port: the name", why);
}

int options_check_lists(const struct run_options *o, struct fail *why)
{
	if (check_disks(o, why) || check_ports(o, why) || check_networks(o, why))
		return -EINVAL;
	return check_shares(o, why);
}
