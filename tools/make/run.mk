# The guest that `make run` and the boot tests start: Debian's kernel, and busybox.

GUEST := $(BUILD)/guest

$(GUEST)/vmlinuz $(GUEST)/modules/list &: tools/guest/modules
	@tools/guest/fetch-kernel $(GUEST)
	@touch $(GUEST)/vmlinuz

# Programs for the guest, without a C library.
GUEST_CFLAGS := -std=gnu17 -Os $(WARN) -D_GNU_SOURCE -static -nostdlib -ffreestanding -fno-pie \
	-fno-stack-protector -fno-asynchronous-unwind-tables -Wl,--build-id=none -Wl,-s
GUEST_PROGRAMS := $(addprefix $(GUEST)/,vsock scribble)
$(GUEST_PROGRAMS): $(GUEST)/%: tools/guest/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(GUEST_CFLAGS) -o $@ $<

# The same of 32 bits, for which the compiler needs no library either.
$(GUEST)/user32: tools/guest/user32.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -m32 $(GUEST_CFLAGS) -o $@ $<
GUEST_PROGRAMS += $(GUEST)/user32

$(GUEST)/initramfs.gz: $(addprefix tools/guest/,init udhcpc make-initramfs) $(GUEST)/modules/list $(GUEST_PROGRAMS)
	@mkdir -p $(@D)
	@tools/guest/make-initramfs $@ $(GUEST)/modules $(GUEST_PROGRAMS)

# Debian's stock kernel and the same guest, for what its cloud kernel lacks.
STOCK := $(GUEST)/stock
$(STOCK)/vmlinuz $(STOCK)/modules/list &: tools/guest/modules-9p
	@tools/guest/fetch-kernel $(STOCK) $< linux-image-amd64
	@touch $(STOCK)/vmlinuz

$(STOCK)/initramfs.gz: $(addprefix tools/guest/,init udhcpc make-initramfs) $(STOCK)/modules/list $(GUEST_PROGRAMS)
	@tools/guest/make-initramfs $@ $(STOCK)/modules $(GUEST_PROGRAMS)

.PHONY: guest-stock
guest-stock: $(STOCK)/vmlinuz $(STOCK)/initramfs.gz

## make run          install what is missing, build, boot Debian's kernel to a shell
## make run </dev/null   the guest introduces itself and powers off
.PHONY: run run-guest guest
run:
	@tools/setup run
	@$(MAKE) --no-print-directory run-guest

guest: $(GUEST)/vmlinuz $(GUEST)/initramfs.gz

run-guest: $(BUILD)/trapeze guest
	@intro=; [ -t 0 ] || intro=trapeze.intro; \
	$(BUILD)/trapeze run --kernel $(GUEST)/vmlinuz --initrd $(GUEST)/initramfs.gz \
		--append "console=ttyS0 $$intro"
