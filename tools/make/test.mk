# `make test`: everything that every commit must pass, in parallel.

GUEST_BIN := $(patsubst %.c,$(OBJ)/%,$(sort $(wildcard test/guest/*.c)))
$(GUEST_BIN): $(OBJ)/%: $(OBJ)/%.o
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< -lcmocka

# Some on each of the software engines, by its name behind theirs; the others on the default one. Those on KVM
# skip where it is missing or only emulates; test/rig/nested runs them, too. Only counted is not among
# them: nothing counts the guest's instructions on KVM.
ON_EACH := boot console smp
ON_KVM := boot boot_loader console debian disk enospc firmware killed memory memtest mptable network share smp tap vconsole vsock
GUEST_TEST := $(foreach t,$(GUEST_BIN),$(if $(filter $(ON_EACH),$(notdir $t)),$t-bt $t-interp,$t)) \
	$(ON_KVM:%=$(OBJ)/test/guest/%-kvm)
$(filter %-bt,$(GUEST_TEST)): %-bt: %
	@ln -sf $(<F) $@
$(filter %-interp,$(GUEST_TEST)): %-interp: %
	@ln -sf $(<F) $@
$(filter %-kvm,$(GUEST_TEST)): %-kvm: %
	@ln -sf $(<F) $@

# Scripts: executable files of these directories. They read TRAPEZE, OBJ, GUEST and CC.
TEST_SCRIPTS := $(sort $(shell find test/style test/api test/guest/bare -type f -perm -u+x 2>/dev/null))

# Longest first, so that the parallel run ends evenly.
TESTS += $(GUEST_TEST) $(UNIT_BIN) $(TEST_SCRIPTS)

## make test         install what is missing, build, run every test of a commit
.PHONY: test run-tests
test:
	@tools/setup test
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/trapeze guest guest-stock tests
	@$(MAKE) --no-print-directory run-tests

.PHONY: tests
tests: $(UNIT_BIN) $(GUEST_TEST)

run-tests:
	@TRAPEZE=$(CURDIR)/$(OBJ)/trapeze OBJ=$(CURDIR)/$(OBJ) GUEST=$(CURDIR)/$(GUEST) CC="$(CC)" \
		test/run $(OBJ)/log $(JOBS) $(TESTS)
