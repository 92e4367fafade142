/*
 * stress.c - stress-ng in the installed Debian on four CPUs, on each software engine, or on KVM:
 * locks, futexes, threads, TLB shootdowns, code that changes, CPUs going off-line; no worker fails,
 * and the kernel has no complaint.
 *
 * Debian's package and the libraries that a small system lacks come on a second disk, as a tar
 * archive (tools/guest/make-stress).
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/debian.h"
#include "test/soak/each_engine.h"

/* Each for so many workers; --verify has them check their own results. */
#define LOADS                                                                                      \
	"--futex 2 --sem 2 --mutex 2 --mcontend 2 --lockbus 2 --dekker 2 --peterson 2 --rseq 2 "   \
	"--membarrier 2 --flock 2 --tlb-shootdown 2 --vm 1 --vm-bytes 32M --fork 2 --clone 1 "     \
	"--pthread 2 --switch 4 --pipe 2 --icache 1 --sigq 2 --timer 2 --cpu-online 1"
#define SECONDS "60"

static void use(const char *engine)
{
	static struct debian d;
	const char *guest = session_need("GUEST");
	char archive[5000], command[5000], kernel[5000], initrd[5000];

	session_engine = engine;
	debian_open(&d);
	snprintf(command, sizeof(command), "tools/guest/make-stress '%s'", guest);
	debian_host(command);
	snprintf(archive, sizeof(archive), "%s/stress.tar,format=raw,readonly", guest);
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", d.made);
	snprintf(initrd, sizeof(initrd), "%s/initrd", d.made);
	debian_run(&d,
		   (const char *const[]){ d.disk, "--kernel", kernel, "--initrd", initrd,
					  "--append", "root=/dev/vda1 console=ttyS0 quiet", "--net",
					  "none", "--cpus", "4", "--disk", archive, NULL });
	debian_login(&d);
	debian_ask(&d, "echo cpus=$(nproc)", "cpus=4");
	debian_ask(&d, "mkdir s && tar xf /dev/vdb -C s && echo unpacked", "unpacked");
	debian_ask(&d,
		   "LD_LIBRARY_PATH=s/usr/lib/x86_64-linux-gnu:s/lib/x86_64-linux-gnu "
		   "s/usr/bin/stress-ng --verify --timeout " SECONDS " " LOADS
		   " >log 2>&1; status=$?; [ $status = 0 ] || cat log; echo "
		   "status=$status",
		   "status=0");
	debian_ask(&d, "echo cpus=$(nproc)", "cpus=4");
	debian_well(&d);
	debian_poweroff(&d);
	debian_close(&d);
}

ON_EACH_ENGINE(use)
