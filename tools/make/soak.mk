# `make soak`: tests that take long, for a night or before a release. Those of test/soak/*.c are
# like those of test/guest, but take minutes each, and download some 100 MB.

# How often disk writers are killed.
SOAK_ROUNDS ?= 200

SOAK_BIN := $(patsubst %.c,$(OBJ)/%,$(sort $(wildcard test/soak/*.c)))
$(SOAK_BIN): $(OBJ)/%: $(OBJ)/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -lcmocka

# Those that run on KVM, too, as those of ON_KVM in test.mk.
SOAK_KVM := $(patsubst %,$(OBJ)/test/soak/%-kvm,litmus stress)
$(SOAK_KVM): %-kvm: %
	@ln -sf $(<F) $@

## make soak         kill disk writers, and machines whose guests write, SOAK_ROUNDS=200 times each; every
##                   image is whole, flushed data is there;
##                   a pass of memtest86+, Debian's installers (downloads them); kernels on several CPUs
.PHONY: soak soak-writers soak-guests
soak: soak-writers soak-guests

soak-writers:
	@tools/setup test
	@$(MAKE) --no-print-directory $(OBJ)/test/unit/crash
	$(OBJ)/test/unit/crash $(SOAK_ROUNDS)
	@$(MAKE) --no-print-directory $(BUILD)/trapeze guest $(OBJ)/test/guest/killed
	TRAPEZE=$(CURDIR)/$(OBJ)/trapeze GUEST=$(CURDIR)/$(GUEST) $(OBJ)/test/guest/killed $(SOAK_ROUNDS)

soak-guests:
	@tools/setup test
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/trapeze guest bare $(SOAK_BIN) $(SOAK_KVM)
	@TRAPEZE=$(CURDIR)/$(OBJ)/trapeze OBJ=$(CURDIR)/$(OBJ) GUEST=$(CURDIR)/$(GUEST) CC="$(CC)" \
		test/run $(OBJ)/log-soak $(JOBS) $(SOAK_BIN) $(SOAK_KVM)
