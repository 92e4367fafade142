/*
 * virtio_rng.c - virtio entropy device.
 *
 * The bytes are the key stream of ChaCha20 under a key that the board chose at power-on, so that
 * the host's randomness enters the machine once, through the board, and a saved machine goes on
 * with the stream where it was. After each request the key is replaced by output nobody has seen
 * ("fast key erasure"): the state tells nothing of what was given before.
 *
 * Spec: virtio 1.2, 5.4; RFC 8439, 2.3 (ChaCha20). Tested by test/device/virtio_rng.c.
 * SPDX-License-Identifier: MIT
 */
#include "device/virtio_rng.h"

#include <errno.h>
#include <string.h>

#include "device/virtio.h"
#include "machine/vm.h"

#define REQUEST_MOST 4096u /* a driver that asks for more asks again: 5.4.6.2 allows less */

struct virtio_rng {
	struct virtio v;
	uint32_t key[8];
};

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

static void quarter_round(uint32_t *s, unsigned a, unsigned b, unsigned c, unsigned d)
{
	s[a] += s[b];
	s[d] = rotate(s[d] ^ s[a], 16);
	s[c] += s[d];
	s[b] = rotate(s[b] ^ s[c], 12);
	s[a] += s[b];
	s[d] = rotate(s[d] ^ s[a], 8);
	s[c] += s[d];
	s[b] = rotate(s[b] ^ s[c], 7);
}

static void chacha20(const uint32_t key[8], uint32_t counter, uint32_t out[16])
{
	/* RFC 8439, 2.3: the constant, the key, the counter, a nonce of zero. */
	uint32_t first[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, [12] = counter };

	memcpy(first + 4, key, 8 * sizeof(*key));
	memcpy(out, first, sizeof(first));
	for (unsigned i = 0; i < 10; i++) {
		quarter_round(out, 0, 4, 8, 12);
		quarter_round(out, 1, 5, 9, 13);
		quarter_round(out, 2, 6, 10, 14);
		quarter_round(out, 3, 7, 11, 15);
		quarter_round(out, 0, 5, 10, 15);
		quarter_round(out, 1, 6, 11, 12);
		quarter_round(out, 2, 7, 8, 13);
		quarter_round(out, 3, 4, 9, 14);
	}
	for (unsigned i = 0; i < 16; i++)
		out[i] += first[i];
}

/* Block 0 of the key stream becomes the next key, the others go to the guest. */
static uint32_t answer(struct virtio_rng *rng, const struct virtio_chain *c)
{
	uint64_t want = c->out_bytes < REQUEST_MOST ? c->out_bytes : REQUEST_MOST;
	uint32_t block[16], next[16];
	uint64_t done = 0;

	chacha20(rng->key, 0, next);
	for (uint32_t i = 1; done < want; i++) {
		uint64_t n = want - done < sizeof(block) ? want - done : sizeof(block);

		chacha20(rng->key, i, block);
		n = virtio_put(&rng->v, c, done, block, n);
		if (n == 0)
			break;
		done += n;
	}
	memcpy(rng->key, next, sizeof(rng->key));
	return (uint32_t)done;
}

static void notify(struct virtio *v, unsigned q)
{
	struct virtio_rng *rng = (struct virtio_rng *)v;
	struct virtio_chain c;

	while (virtio_pop(v, q, &c))
		virtio_push(v, q, &c, answer(rng, &c));
	virtio_flush(v, q);
}

static void queue_reset(struct virtio *v, unsigned q)
{
	(void)v;
	(void)q; /* nothing is ever in flight */
}

static const struct virtio_class rng_class = {
	.id = VIRTIO_ID_ENTROPY,
	.class_code = 0x00ff00,
	.notify = notify,
	.queue_reset = queue_reset,
};

static const struct field rng_fields[] = { VIRTIO_FIELDS(virtio_rng, v),
					   FIELD_ARRAY(virtio_rng, key, 1), FIELD_END };

static const struct device_ops rng_ops = {
	VIRTIO_DEVICE_OPS,
	.type = "virtio_rng",
	.state = rng_fields,
	.state_version = 1,
};

int virtio_rng_create(struct pci_host *host, const struct virtio_rng_config *config,
		      struct fail *why)
{
	struct virtio_config virtio = { .id = config->id, .queues = 1, .devfn = config->devfn };
	struct virtio_rng *rng = host_alloc(sizeof(*rng));

	if (!rng)
		return fail(why, -ENOMEM, "%s: no memory", config->id);
	memcpy(rng->key, config->key, sizeof(rng->key));
	return virtio_add(host, &rng->v, &rng_class, &rng_ops, &virtio, why);
}
