# interp and bt side by side through Debian's boot: test/lockstep/. In `make test`: with fewer slices, without tortures.

LOCKSTEP := $(OBJ)/test/lockstep/lockstep
$(LOCKSTEP): $(OBJ)/test/lockstep/lockstep.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(LDLIBS)

$(LOCKSTEP)-quick: $(LOCKSTEP)
	@ln -sf lockstep $@

TESTS += $(LOCKSTEP)-quick
tests: $(LOCKSTEP)-quick

## make lockstep     interp and bt through Debian's whole boot, compared every million
##                   instructions, at first every 100; as it is, and under tortures: minutes
.PHONY: lockstep run-lockstep
lockstep:
	@tools/setup test
	@$(MAKE) --no-print-directory -j$(JOBS) guest $(LOCKSTEP)
	@$(MAKE) --no-print-directory run-lockstep

run-lockstep:
	GUEST=$(GUEST) $(LOCKSTEP)
	GUEST=$(GUEST) $(LOCKSTEP) --slices 0 --torture hot,kick,invalidate
	GUEST=$(GUEST) $(LOCKSTEP) --slices 0 --torture hot,no-link,flush
