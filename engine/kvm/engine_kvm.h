/*
 * engine_kvm.h - the engine that lets the processor run the guest, through /dev/kvm.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ENGINE_KVM_ENGINE_KVM_H
#define ENGINE_KVM_ENGINE_KVM_H

#include "machine/engine.h"

extern const struct engine_ops kvm_ops;

#endif
