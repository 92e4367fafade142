/*
 * kvm_script.h - runs a machine on a kernel that plays KVM (fake_kvm.h): a script says how each
 * KVM_RUN ends.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TEST_UNIT_KVM_SCRIPT_H
#define TEST_UNIT_KVM_SCRIPT_H

#include "test/unit/kvm_rig.h"

static unsigned steps;      /* of the script, which counts them */
static struct vm *stopping; /* the machine that runs it */

/* The script's end. */
static int stop(struct kvm_run *run)
{
	vm_request(stopping, VM_POWEROFF, 0);
	run->exit_reason = KVM_EXIT_INTR;
	return 0;
}

static enum vm_request run_script(struct vm *vm, int (*script)(struct kvm_run *run))
{
	struct fail why = { 0 };
	int status = 0;
	enum vm_request end;

	fake.script = script;
	stopping = vm;
	steps = 0;
	end = vm_run(vm, UINT64_MAX, &status, &why);
	if (end == VM_STUCK)
		print_error("%s\n", why.text);
	return end;
}

#endif
