# Hardware engines. test/rig/NAME.c are programs that use this host's /dev/kvm, and skip without. Where
# the host has no KVM worth the name, test/rig/nested makes one: it boots a kernel with KVM inside QEMU
# and runs them, and trapeze, in there.

RIG_SRC := $(sort $(wildcard test/rig/*.c))
RIG_BIN := $(RIG_SRC:%.c=$(OBJ)/%)
$(RIG_BIN): $(OBJ)/test/%: $(OBJ)/test/%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) -lcmocka $(LDLIBS)

TESTS += $(RIG_BIN)
tests: $(RIG_BIN)

## make rig          only the tests of hardware engines on this host
.PHONY: rig
rig: $(RIG_BIN) $(OBJ)/test/rig/fail_ioctl.so $(BUILD)/trapeze
	@TRAPEZE=$(CURDIR)/$(OBJ)/trapeze OBJ=$(CURDIR)/$(OBJ) GUEST=$(CURDIR)/$(GUEST) \
		test/run $(OBJ)/log-rig $(JOBS) $(RIG_BIN)

RIG := $(BUILD)/rig

$(RIG)/khz: test/rig/outer/khz.c
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=gnu17 -O2 $(WARN) -D_GNU_SOURCE -o $@ $<

$(RIG)/vmlinuz $(RIG)/modules/list &: test/rig/modules
	@tools/guest/fetch-kernel $(RIG) test/rig/modules
	@touch $(RIG)/vmlinuz $(RIG)/modules/list

## make nested       those tests, and Debian's kernel on KVM, inside a machine of QEMU's with SVM; minutes
.PHONY: nested run-nested
nested:
	@tools/setup nested
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/trapeze guest guest-stock bare $(RIG_BIN) $(OBJ)/test/rig/fail_ioctl.so $(filter %-kvm,$(GUEST_TEST)) $(RIG)/vmlinuz $(RIG)/khz
	@$(MAKE) --no-print-directory run-nested

## make nested-boots in there, RIG_BOOTS=20 boots each of 2 and 4 CPUs
.PHONY: nested-boots
RIG_BOOTS ?= 20
nested-boots:
	@RIG_BOOTS=$(RIG_BOOTS) $(MAKE) --no-print-directory nested

## make nested-soak  in there, what takes long: Debian from its disk, stress-ng, litmus tests, monitors killed; half an hour
.PHONY: nested-soak
nested-soak:
	@tools/setup test
	@$(MAKE) --no-print-directory -j$(JOBS) $(SOAK_KVM)
	@RIG_SOAK=1 $(MAKE) --no-print-directory nested

run-nested:
	@TRAPEZE=$(CURDIR)/$(OBJ)/trapeze OBJ=$(CURDIR)/$(OBJ) GUEST=$(CURDIR)/$(GUEST) RIG=$(CURDIR)/$(RIG) \
		test/run $(OBJ)/log-nested 1 test/rig/nested

## make nightly      the same on Intel's side, inside Bochs: half an hour; part of nothing else
.PHONY: nightly run-nightly
nightly:
	@tools/setup nightly
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/trapeze guest guest-stock bare $(RIG_BIN) $(OBJ)/test/rig/fail_ioctl.so $(filter %-kvm,$(GUEST_TEST)) $(RIG)/vmlinuz
	@$(MAKE) --no-print-directory run-nightly

run-nightly:
	@TRAPEZE=$(CURDIR)/$(OBJ)/trapeze OBJ=$(CURDIR)/$(OBJ) GUEST=$(CURDIR)/$(GUEST) RIG=$(CURDIR)/$(RIG) \
		test/run $(OBJ)/log-nightly 1 test/rig/bochs

.PHONY: soak-nested
soak: soak-nested
soak-nested:
	@$(MAKE) --no-print-directory nested
	@$(MAKE) --no-print-directory nested-boots
	@$(MAKE) --no-print-directory nested-soak

$(OBJ)/test/rig/fail_ioctl.so: test/rig/preload/fail_ioctl.c
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=gnu17 -O1 $(WARN) -D_GNU_SOURCE -fPIC -shared -o $@ $<

tests: $(OBJ)/test/rig/fail_ioctl.so
