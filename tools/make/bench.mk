# `make bench`: one benchmark program natively and inside every monitor, the boot of the same guest, and tight
# loops; the tables go into docs/PERFORMANCE.md. A peer that cannot be installed is left out.

$(OBJ)/bench/measure $(OBJ)/bench/turns: $(OBJ)/bench/%: $(OBJ)/bench/%.o $(OBJ)/bench/tree.o
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

# The program that the host and all guests run: static, for any x86-64, the same bytes everywhere.
BENCH_WORK := $(wildcard bench/guest/*.c)
$(OBJ)/bench/work: $(BENCH_WORK) bench/guest/work.h
	@mkdir -p $(@D)
	$(call say,BENCH,$@)
	$(Q)$(CC) -std=gnu17 -O2 -D_GNU_SOURCE $(WARN) -static -o $@ $(BENCH_WORK) -lm

$(OBJ)/bench/image.gz: $(OBJ)/bench/work bench/guest/init bench/guest/make-image
	@bench/guest/make-image $< $@

$(OBJ)/bench/exit_time.so: bench/exit_time.c
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=gnu17 -O2 $(WARN) -D_GNU_SOURCE -fPIC -shared -o $@ $<

BENCH_PARTS := $(BUILD)/trapeze guest $(addprefix $(OBJ)/bench/,measure turns work image.gz exit_time.so)

## make bench        speed beside other monitors, BENCH_ROUNDS=3 runs each; on a quiet machine
## make bench-quick  one short round of it in about two minutes, to standard output only
.PHONY: bench run-bench bench-quick
bench:
	@tools/setup bench || echo "bench: going on without what could not be installed"
	@$(MAKE) --no-print-directory -j$(JOBS) $(BENCH_PARTS)
	@$(MAKE) --no-print-directory run-bench

bench-quick:
	@$(MAKE) --no-print-directory -j$(JOBS) $(BENCH_PARTS)
	@BENCH_ROUNDS=$${BENCH_ROUNDS:-1} BENCH_MS=$${BENCH_MS:-150} BENCH_NO_REPORT=1 \
		bench/compare $(GUEST) $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md

run-bench:
	@bench/compare $(GUEST) $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
	@bench/boot $(GUEST) $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
	@CC="$(CC)" bench/micro $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
	@bench/exits $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
	@bench/smp $(GUEST) $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
	@bench/login $(GUEST) $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
	@bench/network $(GUEST) $(OBJ) $(OBJ)/bench docs/PERFORMANCE.md
