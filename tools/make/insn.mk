# The instruction test against the bare CPU: test/insn/. `make test` runs it once for each of
# INSN_SEEDS, by as many names of one program; each is a case of its own in the summary. The
# translator executes the cases of bt-N.

INSN_SEEDS := 1 2 bt-3 bt-4
INSN_SRC := $(sort $(wildcard test/insn/*.c))
INSN := $(OBJ)/test/insn/insn
INSN_TEST := $(addprefix $(INSN)-,$(INSN_SEEDS))

# Never with a sanitizer, without a C library, at HOME_AT of test/insn/insn.h: see test/insn/bare/child.c.
$(INSN)-bare: test/insn/bare/child.c test/insn/memory.c test/insn/insn.h cpu/state.h
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=gnu17 -O1 -g $(WARN) -fno-strict-aliasing -D_GNU_SOURCE -I. -ffreestanding -fPIE \
		-fno-stack-protector -static -nostdlib -Wl,--build-id=none,--no-relax,-Ttext-segment=0x5a5a00000000 \
		-o $@ $(filter %.c,$^)

$(INSN): $(INSN)-bare
$(INSN): $(INSN_SRC:%.c=$(OBJ)/%.o) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(LDLIBS)

$(INSN_TEST): $(INSN)
	@ln -sf insn $@

# Of the native side itself, and of what a host may lack.
INSN_OWN := $(OBJ)/test/insn/denied $(OBJ)/test/insn/home
$(INSN_OWN): $(OBJ)/test/insn/%: test/insn/own/%.c $(INSN)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS) -o $@ $< -lcmocka

TESTS += $(INSN_TEST) $(INSN_OWN)
tests: $(INSN_TEST) $(INSN_OWN)

## make fuzz-insn    random instructions on this CPU and on an engine, until one differs or
##                   for SECONDS=60 (0: no limit); SEED=N as printed; ENGINE=bt (default) or interp
.PHONY: fuzz-insn
fuzz-insn: $(INSN)
	$< --engine $(or $(ENGINE),bt) --cases 0 --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))
