# The guest that `make run` and the boot tests start: Debian's kernel, and busybox.

GUEST := $(BUILD)/guest

$(GUEST)/vmlinuz:
	@tools/guest/fetch-kernel $(GUEST)

$(GUEST)/initramfs.gz: tools/guest/init tools/guest/make-initramfs
	@mkdir -p $(@D)
	@tools/guest/make-initramfs $@

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
