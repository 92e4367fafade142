# `make race`: what runs on several threads, under ThreadSanitizer (MODE=tsan), which sees the monitor's own
# memory. Of the guest's it is told nothing (engine/mmu/guest.h), and it knows no code that bt emits: so guests
# run on interp, and of bt it sees the C on both sides of that code. A report is a failure: there is no list of those to hide.

# Programs whose parts have threads. The other tests have one, or two with `ahead`, which mem and ram have, too.
RACE_UNIT := aio api bells block bt_share clock crash crew crowded disk_full gate kvm kvm_failures mem net p9 \
	p9_confined p9_save power_loss qcow2 ram spinlock steal storm switch vcpu vsock
RACE := $(RACE_UNIT:%=$(OBJ)/test/unit/%) test/guest/bare/run $(OBJ)/test/guest/smp-interp

## make race         tests of several threads under ThreadSanitizer, on interp: bare guests and Debian's
##                   kernel on 2 and 4 CPUs among them; minutes
.PHONY: race run-race
race:
	@tools/setup test
	@$(MAKE) --no-print-directory MODE=tsan -j$(JOBS) guest bare
	@$(MAKE) --no-print-directory MODE=tsan -j$(JOBS) run-race

run-race: $(BUILD)/trapeze $(filter $(OBJ)/%,$(RACE))
	@BARE_ON=threads TRAPEZE=$(CURDIR)/$(OBJ)/trapeze OBJ=$(CURDIR)/$(OBJ) GUEST=$(CURDIR)/$(GUEST) \
		test/run $(OBJ)/log-race $(JOBS) $(RACE)
