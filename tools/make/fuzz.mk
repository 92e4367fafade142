# libFuzzer targets: fuzz/NAME.c with the sources FUZZ_NAME lists, built by clang with the
# address and undefined-behaviour sanitizers into build/fuzz/. What is found interesting is kept in
# build/fuzz/corpus/NAME, and starts the next run.

FUZZ_CC ?= clang
# SECONDS: how long `make fuzz` gives each target.
SECONDS ?= 60
FUZZ_SANITIZE := address,undefined
FUZZ_FLAGS := -std=gnu17 -O1 -g -fsanitize=$(FUZZ_SANITIZE),fuzzer-no-link \
	-fno-sanitize-recover=undefined -fno-strict-aliasing -pthread

FUZZ_TARGETS := loaders load decode qcow2

FUZZ_loaders := $(wildcard boot/*.c host/linux/*.c) cpu/state.c cpu/segment.c cpu/cpuid.c machine/mem.c
FUZZ_loaders_LEN := 16384
FUZZ_load := $(LIB_SRC)
FUZZ_load_LEN := 512
FUZZ_decode := $(LIB_SRC)
FUZZ_decode_LEN := 20
FUZZ_qcow2 := $(wildcard backend/aio*.c backend/block*.c backend/qcow2*.c backend/raw.c host/linux/*.c)
FUZZ_qcow2_LEN := 16384

$(BUILD)/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) $(WARN) $(CPPFLAGS) -c -o $@ $<

define fuzz_target
$(BUILD)/fuzz/$(1): $(patsubst %.c,$(BUILD)/fuzz/%.o,fuzz/$(1).c $(FUZZ_$(1)))
	$$(call say,LD,$$@)
	$$(Q)$$(FUZZ_CC) -fsanitize=$$(FUZZ_SANITIZE),fuzzer -pthread -o $$@ $$^ $(LIB_NEEDS)

.PHONY: fuzz-$(1)
fuzz-$(1): $(BUILD)/fuzz/$(1)
	@mkdir -p $(BUILD)/fuzz/corpus/$(1)
	$$< -max_total_time=$$(SECONDS) -max_len=$(FUZZ_$(1)_LEN) -len_control=0 -timeout=10 \
		-print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus/$(1)
endef
$(foreach t,$(FUZZ_TARGETS),$(eval $(call fuzz_target,$(t))))

# Hostile drivers of the virtio devices, under the address sanitizer.
DRIVER_TESTS := $(patsubst test/%.c,build/asan/test/%,$(sort $(wildcard test/device/virtio*.c)))
.PHONY: fuzz-drivers
fuzz-drivers:
	@$(MAKE) --no-print-directory MODE=asan $(DRIVER_TESTS)
	@for t in $(DRIVER_TESTS); do \
		FUZZ_SECONDS=$(SECONDS) $$t >$$t.fuzz 2>&1 || { tail -20 $$t.fuzz; exit 1; }; \
		echo "ok - $$t: $$(grep -c ^seed $$t.fuzz) seeds"; done

## make fuzz         every fuzzer for SECONDS=60: fuzz-loaders, fuzz-load, fuzz-decode, fuzz-qcow2,
##                   fuzz-drivers, fuzz-insn
.PHONY: fuzz
fuzz:
	@tools/setup fuzz
	@for t in $(FUZZ_TARGETS); do $(MAKE) --no-print-directory fuzz-$$t || exit 1; done
	@$(MAKE) --no-print-directory fuzz-drivers
	@$(MAKE) --no-print-directory fuzz-insn

-include $(shell find $(BUILD)/fuzz -name '*.d' 2>/dev/null)
