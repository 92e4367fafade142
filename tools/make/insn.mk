# The instruction test against the bare CPU: test/insn/. `make test` runs it once for each of
# INSN_SEEDS, by as many names of one program; each is a case of its own in the summary.

INSN_SEEDS := 1 2 3 4
INSN_SRC := $(sort $(wildcard test/insn/*.c))
INSN := $(OBJ)/test/insn/insn
INSN_TEST := $(addprefix $(INSN)-,$(INSN_SEEDS))

$(INSN): $(INSN_SRC:%.c=$(OBJ)/%.o) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(LDLIBS)

$(INSN_TEST): $(INSN)
	@ln -sf insn $@

TESTS += $(INSN_TEST)
tests: $(INSN_TEST)

## make fuzz-insn    random instructions on this CPU and on the interpreter, until one differs or
##                   for SECONDS=60 (0: no limit); SEED=N as printed
.PHONY: fuzz-insn
fuzz-insn: $(INSN)
	$< --cases 0 --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))
