/*
 * net.c - the words of --net, and what every kind of network has in common.
 *
 * Each open network has one thread, which owns whatever it waits for on the host;
 * see port.h for how it talks to the device.
 *
 * Tested by test/unit/net.c.
 * SPDX-License-Identifier: MIT
 */
#include "backend/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/net_internal.h"
#include "host/host.h"
#include "machine/device.h"

#define MTU_LEAST 68 /* RFC 791 */
#define MTU_MOST  65521

static const struct net_kind *const kinds[] = { &net_user, &net_tap, &net_switch };

static int parse_number(const char *text, unsigned least, unsigned most, unsigned *value)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	n = strtoul(text, &end, 10);
	if (*end || n < least || n > most)
		return -EINVAL;
	*value = (unsigned)n;
	return 0;
}

static int parse_mac(const char *text, uint8_t mac[6])
{
	int used = 0;

	if (strspn(text, "0123456789abcdefABCDEF:") != strlen(text) ||
	    sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &used) != 6 ||
	    text[used])
		return -EINVAL;
	/* A group's, or none: not a card's. */
	return mac[0] & 1 || !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]) ? -EINVAL : 0;
}

/* -ENOENT: not an option of every card. */
static int card_option(struct net_card *card, const char *key, const char *value, struct fail *why)
{
	unsigned n = 0;

	if (strcmp(key, "mac") == 0) {
		card->mac_given = true;
		return parse_mac(value, card->mac) == 0
			       ? 0
			       : fail(why, -EINVAL,
				      "--net: mac=%s is not a card's address, as 02:0:0:0:0:1 is",
				      value);
	}
	if (strcmp(key, "mtu") == 0) {
		if (parse_number(value, MTU_LEAST, MTU_MOST, &n))
			return fail(why, -EINVAL, "--net: mtu=%s is not from %d to %d", value,
				    MTU_LEAST, MTU_MOST);
		card->mtu = (uint16_t)n;
		return 0;
	}
	if (strcmp(key, "queues") == 0) {
		if (parse_number(value, 1, NET_QUEUES_MAX, &card->queues))
			return fail(why, -EINVAL, "--net: queues=%s is not from 1 to %d", value,
				    NET_QUEUES_MAX);
		return 0;
	}
	return -ENOENT;
}

/* In the whole text; only a forward may be one of several. */
static bool given_twice(const char *text, const char *key)
{
	size_t bytes = strlen(key);
	unsigned count = 0;

	while ((text = strchr(text, ',')))
		count += strncmp(++text, key, bytes) == 0 && text[bytes] == '=';
	return count > 1 && strcmp(key, "forward") != 0;
}

static int parse_option(struct net *net, const char *text, char *word, struct fail *why)
{
	char *value = strchr(word, '=');
	int err = -ENOENT;

	if (!value)
		return fail(why, -EINVAL, "--net: '%s' is not of the form name=value", word);
	*value++ = '\0';
	if (given_twice(text, word))
		return fail(why, -EINVAL, "--net: %s is given twice", word);
	err = card_option(&net->card, word, value, why);
	if (err == -ENOENT && net->kind->option)
		err = net->kind->option(net, word, value, why);
	if (err == -ENOENT)
		return fail(why, -EINVAL, "--net %s has no option '%s'", net->kind->name, word);
	return err;
}

static const struct net_kind *find_kind(const char *word, struct fail *why)
{
	size_t length = strcspn(word, ":,");
	bool colon = word[length] == ':', named = colon && !strchr(",", word[length + 1]);

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct net_kind *k = kinds[i];

		if (strlen(k->name) != length || memcmp(k->name, word, length) != 0)
			continue;
		if (!!k->takes == named && !!k->takes == colon)
			return k;
		fail(why, -EINVAL, "--net: '%.*s' is not %s%s%s", (int)strcspn(word, ","), word,
		     k->name, k->takes ? ":" : "", k->takes ? k->takes : "");
		return NULL;
	}
	fail(why, -EINVAL, "--net: there is no '%.*s', only user, tap:NAME and switch:SOCKET",
	     (int)length, word);
	return NULL;
}

static void net_free(struct net *net)
{
	free(net->words);
	host_free(net);
}

/* A struct net with everything the text says, and nothing open. */
static struct net *parse(const char *text, struct fail *why)
{
	const struct net_kind *kind = find_kind(text, why);
	struct net *net = kind ? host_alloc(kind->bytes) : NULL;
	char *word, *rest;

	if (!kind)
		return NULL;
	if (net)
		net->words = strdup(text);
	if (!net || !net->words) {
		fail(why, -ENOMEM, "no memory for a network");
		host_free(net);
		return NULL;
	}
	net->kind = kind;
	net->port.wake = -1;
	net->card.queues = 1;
	word = strtok_r(net->words, ",", &rest);
	net->name = word + strcspn(word, ":");
	net->name += *net->name == ':';
	while ((word = strtok_r(NULL, ",", &rest))) {
		if (parse_option(net, text, word, why)) {
			net_free(net);
			return NULL;
		}
	}
	return net;
}

int net_check(const char *text, struct fail *why)
{
	struct net *net;

	if (!*text || *text == ',')
		return fail(why, -EINVAL, "--net: which? user, tap:NAME or switch:SOCKET");
	if (strstr(text, ",,") || text[strlen(text) - 1] == ',')
		return fail(why, -EINVAL, "--net: nothing follows a comma in '%s'", text);
	net = parse(text, why);
	if (!net)
		return why->code;
	net_free(net);
	return 0;
}

static void net_room(void *arg, size_t bytes)
{
	port_room(&((struct net *)arg)->port, bytes);
}

static void net_accepts(void *arg, unsigned offloads)
{
	atomic_store(&((struct net *)arg)->accepts, offloads);
}

struct net *net_open(const char *text, struct fail *why)
{
	struct net *net;

	if (net_check(text, why))
		return NULL;
	net = parse(text, why);
	if (!net)
		return NULL;
	net->seam.room = net_room;
	net->seam.accepts = net_accepts;
	net->seam.arg = net;
	if (port_open(&net->port, why)) {
		net_free(net);
		return NULL;
	}
	if (net->kind->open(net, why)) {
		net_close(net);
		return NULL;
	}
	return net;
}

struct net_card net_card(const struct net *net)
{
	return net->card;
}

struct net_backend net_backend(struct net *net)
{
	return net->seam;
}

int net_start(struct net *net, struct device *dev, struct fail *why)
{
	net->port.dev = dev;
	net->thread = host_thread_start(net->kind->run, net, net->kind->name);
	return net->thread ? 0 : fail(why, -EAGAIN, "cannot start a network's thread");
}

void net_close(struct net *net)
{
	if (!net)
		return;
	if (net->thread)
		port_stop(&net->port);
	host_thread_join(net->thread);
	net->kind->close(net);
	port_close(&net->port);
	net_free(net);
}

bool net_post(struct net *net, struct net_message *m, size_t bytes)
{
	m->input.kind = NET_INPUT_FRAME;
	m->input.bytes = (uint32_t)bytes;
	return port_post(&net->port, m, sizeof(m->input) + bytes);
}

void net_link(struct net *net, bool up)
{
	struct net_input input = { .kind = NET_INPUT_LINK, .up = up };

	if (!port_tell(&net->port, &input, sizeof(input)))
		host_warn("--net %s: the guest cannot be told that the link changed",
			  net->kind->name);
}

/* FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash_more(uint64_t hash, const char *text, size_t bytes)
{
	for (; bytes > 0; bytes--, text++)
		hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return hash;
}

void net_mac_from(const char *machine, const char *id, const char *words, uint8_t mac[6])
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	hash = hash_more(hash, machine, strlen(machine) + 1);
	hash = hash_more(hash, id, strlen(id) + 1);
	hash = hash_more(hash, words, strcspn(words, ","));
	hash ^= hash >> 32;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)(hash >> 8 * i);
	mac[0] = (uint8_t)((mac[0] & ~1u) | 2u); /* one card's, locally administered */
}
