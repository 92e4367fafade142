# `make bench`: the boot of the same guest beside Bochs and QEMU, and tight loops; the tables go into
# docs/PERFORMANCE.md. A peer that cannot be installed is left out.

$(OBJ)/bench/measure: $(OBJ)/bench/measure.o
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $<

## make bench        speed beside other monitors, BENCH_ROUNDS=3 boots each; on a quiet machine
.PHONY: bench run-bench
bench:
	@tools/setup bench || echo "bench: going on without what could not be installed"
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/trapeze guest $(OBJ)/bench/measure
	@$(MAKE) --no-print-directory run-bench

run-bench:
	@bench/boot $(GUEST) $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
	@CC="$(CC)" bench/micro $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
