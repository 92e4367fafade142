/*
 * hypercall.c - the hypercall table.
 *
 * The idea: a hypercall is a device access without a device. It is rare and
 * slow, so each service takes the whole exit and checks everything itself; the
 * text of PRINT passes through a bounded buffer, in one piece, so that a print
 * from the guest is one call of the embedder's hook.
 *
 * Not modelled: KVM's services (kick, clock pairing, page-encryption status);
 * CPUID does not advertise them.
 *
 * Spec: hypercall.h. Tested by test/unit/hypercall.c.
 * SPDX-License-Identifier: MIT
 */
#include "machine/hypercall.h"

#include <stddef.h>

#include "machine/vm.h"

typedef int64_t (*service)(struct vcpu *vcpu, const uint64_t arg[4]);

static int64_t do_version(struct vcpu *vcpu, const uint64_t arg[4])
{
	(void)vcpu;
	(void)arg;
	return HYPERCALL_VERSION_VALUE;
}

static int64_t do_print(struct vcpu *vcpu, const uint64_t arg[4])
{
	struct vm *vm = vcpu->vm;
	char text[HYPERCALL_PRINT_MAX];
	int err;

	if (arg[1] > sizeof(text))
		return -HYPERCALL_E2BIG;
	if (arg[1] == 0)
		return 0;
	host_mutex_lock(vm->lock);
	err = mem_read(&vm->mem, gpa(arg[0]), text, arg[1]);
	/* With the lock: one at a time, whichever vCPU's. */
	if (!err && vm->hooks.print)
		vm->hooks.print(vm->hooks.arg, text, arg[1]);
	host_mutex_unlock(vm->lock);
	return err ? -HYPERCALL_EFAULT : (int64_t)arg[1];
}

static int64_t do_exit(struct vcpu *vcpu, const uint64_t arg[4])
{
	vm_request(vcpu->vm, VM_DEBUG_EXIT, (int)(arg[0] & 0x7fffffff));
	return 0;
}

static int64_t do_yield(struct vcpu *vcpu, const uint64_t arg[4])
{
	(void)arg;
	turns_give_up(vcpu->vm);
	atomic_store(&vcpu->notice, true);
	return 0;
}

static const struct {
	uint32_t number;
	service run;
} services[] = {
	{HYPERCALL_VERSION, do_version},
	{ HYPERCALL_PRINT,  do_print  },
	{ HYPERCALL_EXIT,   do_exit   },
	{ HYPERCALL_YIELD,  do_yield  },
};
_Static_assert(sizeof(services) / sizeof(services[0]) ==
#define X(name, offset, text) +1
		       HYPERCALLS(X),
#undef X
	       "every hypercall has its row");

void hypercall_handle(struct vcpu *vcpu, struct exit *exit)
{
	int64_t result = -HYPERCALL_ENOSYS;

	if (exit->hypercall.cpl != 0) {
		exit->hypercall.result = (uint64_t)-HYPERCALL_EPERM;
		return;
	}
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (services[i].number == exit->hypercall.number)
			result = services[i].run(vcpu, exit->hypercall.arg);
	exit->hypercall.result = (uint64_t)result;
}
