# The guest that `make run` and the boot tests start: Debian's kernel, and busybox.

GUEST := $(BUILD)/guest

$(GUEST)/vmlinuz $(GUEST)/modules/list &: tools/guest/modules
	@tools/guest/fetch-kernel $(GUEST)
	@touch $(GUEST)/vmlinuz

$(GUEST)/initramfs.gz: $(addprefix tools/guest/,init udhcpc make-initramfs) $(GUEST)/modules/list
	@mkdir -p $(@D)
	@tools/guest/make-initramfs $@ $(GUEST)/modules

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
