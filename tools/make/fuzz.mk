# libFuzzer targets: fuzz/NAME.c with the sources FUZZ_NAME lists, built by clang with the
# address and undefined-behaviour sanitizers into build/fuzz/. What is found interesting is kept in
# build/fuzz/corpus/NAME, and starts the next run.

FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60
FUZZ_SANITIZE := address,undefined
FUZZ_FLAGS := -std=gnu17 -O1 -g -fsanitize=$(FUZZ_SANITIZE),fuzzer-no-link \
	-fno-sanitize-recover=undefined -fno-strict-aliasing -pthread

FUZZ_loaders := $(wildcard boot/*.c host/linux/*.c) cpu/state.c cpu/segment.c cpu/cpuid.c machine/mem.c

$(BUILD)/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) $(WARN) $(CPPFLAGS) -c -o $@ $<

$(BUILD)/fuzz/loaders: $(patsubst %.c,$(BUILD)/fuzz/%.o,fuzz/loaders.c $(FUZZ_loaders))
	$(call say,LD,$@)
	$(Q)$(FUZZ_CC) -fsanitize=$(FUZZ_SANITIZE),fuzzer -pthread -o $@ $^

## make fuzz-loaders any bytes as a kernel, for FUZZ_SECONDS=60
.PHONY: fuzz-loaders
fuzz-loaders: $(BUILD)/fuzz/loaders
	@mkdir -p $(BUILD)/fuzz/corpus/loaders
	$< -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -len_control=0 -timeout=10 \
		-print_final_stats=1 -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus/loaders

-include $(shell find $(BUILD)/fuzz -name '*.d' 2>/dev/null)
