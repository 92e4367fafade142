/*
 * tap.c - Debian's kernel on a tap interface, in a network namespace of its own, with one queue and
 * with two; and the tap vanishes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/guest.h"
#include "test/guest/namespace.h"

/* Of what seq 1 200000 prints. */
#define STREAM_SUM "0e10426a1d5bddffcef02f1345787128"

static int make_tap(void)
{
	return system("[ -e /sys/class/net/tap0 ] || busybox tunctl -t tap0 >/dev/null && "
		      "busybox ip addr add 10.8.0.1/24 dev tap0 && busybox ip link set tap0 up");
}

/* NULL, or why there can be no namespace with a tap here. */
static const char *enter_namespace(void)
{
	if (access("/dev/net/tun", R_OK | W_OK) != 0)
		return "/dev/net/tun cannot be opened";
	if (!namespace_enter(CLONE_NEWNET))
		return "no network namespace is permitted";
	return make_tap() == 0 ? NULL : "no tap can be made in a namespace";
}

/* The guest of this card, with the tap up. */
static void start(struct session *s, const char *cpus, const char *net)
{
	guest_boot(s, GUEST_WORDS("--cpus", cpus, "--net", net));
	session_type(s, "ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up\r");
	session_expect(s, GUEST_PROMPT, GUEST_SECONDS);
	session_type(s, "ping -c 3 -A -W 100 10.8.0.1\r");
	session_expect(s, " 0% packet loss", GUEST_SECONDS);
}

/* A card of two queues, which both have their interrupt; four streams at a time. */
static void test_queues(void **state)
{
	struct session s;

	(void)state;
	start(&s, "2", "tap:tap0,queues=2");
	session_type(&s, "echo rings $(ls /sys/class/net/eth0/queues | wc -l) "
			 "$(grep -c -E 'virtio.*-(in|out)put.[01]' /proc/interrupts).\r");
	session_expect(&s, "rings 4 4.", GUEST_SECONDS);
	session_type(&s, "for i in 1 2 3 4; do nc -l -p 9$i | md5sum & done; sleep 1; echo "
			 "listen''ing\r");
	session_expect(&s, "listening", GUEST_SECONDS);
	assert_int_equal(system("for i in 1 2 3 4; do seq 1 200000 | busybox nc 10.8.0.2 9$i & "
				"done; wait"),
			 0);
	for (unsigned i = 0; i < 4; i++)
		session_expect(&s, STREAM_SUM, GUEST_SECONDS);
	guest_poweroff(&s);
}

static void test_tap(void **state)
{
	struct session s;

	(void)state;
	start(&s, "1", "tap:tap0");
	/* A stream in, with the host's segments of up to 64 KiB. */
	session_type(&s, "nc -l -p 99 | md5sum & sleep 1; echo listen''ing\r");
	session_expect(&s, "listening", GUEST_SECONDS);
	assert_int_equal(system("seq 1 200000 | busybox nc 10.8.0.2 99"), 0);
	session_expect(&s, STREAM_SUM, GUEST_SECONDS);
	assert_int_equal(system("busybox ip link del tap0"), 0);
	session_expect(&s, "tap tap0 is gone", GUEST_SECONDS);
	session_type(&s, "cat /sys/class/net/eth0/carrier | sed s/^/carrier=/\r");
	session_expect(&s, "carrier=0", GUEST_SECONDS);
	session_type(&s, "ping -c 1 -W 1 10.8.0.1\r");
	guest_poweroff(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_tap),
	};
	const char *why_not = enter_namespace();

	if (why_not) {
		printf("skip - tap: %s\n", why_not);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
