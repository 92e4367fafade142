# Hardware engines: test/rig/NAME.c are programs that use this host's /dev/kvm, and skip without.

RIG_SRC := $(sort $(wildcard test/rig/*.c))
RIG_BIN := $(RIG_SRC:%.c=$(OBJ)/%)
$(RIG_BIN): $(OBJ)/test/%: $(OBJ)/test/%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) -lcmocka $(LDLIBS)

TESTS += $(RIG_BIN)
tests: $(RIG_BIN)

## make rig          only the tests of hardware engines on this host
.PHONY: rig
rig: $(RIG_BIN)
	@test/run $(OBJ)/log-rig $(JOBS) $(RIG_BIN)
