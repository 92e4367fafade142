# Bare test guests: each test/guest/bare/NAME.c but bare.c and cpus.c is one multiboot image.

BARE_CFLAGS := -std=gnu17 -m64 -O1 -ffreestanding -fno-pic -fno-pie -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	-mcmodel=small $(WARN)
BARE_SRC := $(filter-out test/guest/bare/bare.c test/guest/bare/cpus.c,$(sort $(wildcard test/guest/bare/*.c)))
BARE := $(BARE_SRC:test/guest/bare/%.c=$(BUILD)/bare/%)
BARE_COMMON := test/guest/bare/start.S test/guest/bare/bare.c

# Those of several CPUs.
$(filter $(BUILD)/bare/smp_%,$(BARE)): BARE_MORE := test/guest/bare/cpus.c
$(filter $(BUILD)/bare/smp_%,$(BARE)): test/guest/bare/cpus.c

$(BUILD)/bare/%: test/guest/bare/%.c $(BARE_COMMON) $(wildcard test/guest/bare/*.h) test/guest/bare/bare.ld
	@mkdir -p $(@D)
	$(call say,BARE,$@)
	$(Q)$(CC) $(BARE_CFLAGS) -nostdlib -static -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
		-Wl,--no-warn-rwx-segments -T test/guest/bare/bare.ld -o $@.elf64 $< $(BARE_MORE) $(BARE_COMMON)
	$(Q)objcopy -O elf32-i386 $@.elf64 $@

## make bare         build the bare test guests into build/bare/
.PHONY: bare
bare: $(BARE)
tests: bare
