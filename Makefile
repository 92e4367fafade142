# Trapeze. `make help` lists the targets. Plain GNU make; each fragment in tools/make/ adds targets.

MODE ?= release
BUILD := build
OBJ := $(BUILD)/$(MODE)

CC ?= gcc
WARN := -Wall -Wextra -Wshadow -Wundef -Wmissing-prototypes -Wstrict-prototypes -Werror
CFLAGS_release := -O2 -g
CFLAGS_debug := -O1 -g -DTRAPEZE_DEBUG
CFLAGS_asan := -O1 -g -fsanitize=address -fno-omit-frame-pointer
CFLAGS_ubsan := -O1 -g -fsanitize=undefined -fno-sanitize-recover=all
# A fence of virtio's orders memory that the guest shares, which is not TSan's business.
CFLAGS_tsan := -O1 -g -fsanitize=thread -Wno-unknown-warning-option -Wno-tsan
ifndef CFLAGS_$(MODE)
$(error MODE is one of release, debug, asan, ubsan, tsan)
endif
CFLAGS += -std=gnu17 $(CFLAGS_$(MODE)) $(WARN) -fno-strict-aliasing -fPIC -pthread
CPPFLAGS += -D_GNU_SOURCE -I. -Iinclude -MMD -MP
LDFLAGS += $(filter -fsanitize=%,$(CFLAGS_$(MODE))) -pthread
# What the library needs, and so every program on it.
LIB_NEEDS := -lZydis -lZycore -lz -lzstd -luring -lslirp
LDLIBS += $(LIB_NEEDS) -ljansson
JOBS ?= $(shell nproc)

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

# Every C file of these rooms is in the library; control/ is the program.
ROOMS := host/linux cpu machine device engine/mmu engine/interp engine/bt engine/kvm backend boot save board
LIB_SRC := $(sort $(foreach r,$(ROOMS),$(wildcard $(r)/*.c)))
MAIN_SRC := $(sort $(wildcard control/*.c))
LIB := $(OBJ)/libtrapeze.a

## make              build build/trapeze
.PHONY: all lib clean help
all: $(BUILD)/trapeze

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

lib: $(LIB)

$(OBJ)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<

$(LIB): $(LIB_SRC:%.c=$(OBJ)/%.o)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcs $@ $^

$(OBJ)/trapeze: $(MAIN_SRC:%.c=$(OBJ)/%.o) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Links to what the last `make` built, whichever MODE it was: always made again.
.PHONY: FORCE
$(BUILD)/trapeze: $(OBJ)/trapeze FORCE
	@ln -sf $(MODE)/trapeze $@

# One cmocka program a file of test/unit, test/device and test/save; what they share is in headers.
UNIT_SRC := $(sort $(wildcard test/unit/*.c test/device/*.c test/save/*.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(OBJ)/%)
$(UNIT_BIN): $(OBJ)/test/%: $(OBJ)/test/%.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) -lcmocka $(LDLIBS)

## make unit         build and run the unit, device and save tests only
.PHONY: unit
unit: $(UNIT_BIN)
	@test/run $(OBJ)/log-unit $(JOBS) $(UNIT_BIN)

## make MODE=debug ...  MODE: release (the default), debug, asan, ubsan, tsan; objects in build/MODE
## make CC=clang ...    another compiler; V=1 shows the commands
## make clean        remove build/
clean:
	rm -rf $(BUILD)

-include $(wildcard tools/make/*.mk)
-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)
