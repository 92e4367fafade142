# `make conformance`: other projects' x86 test programs on the host and in the guest, outputs compared. It downloads
# three Debian source packages (some 300 MB) the first time and takes minutes; not part of `make test`. SPEED=slow adds the slowest.

CONFORMANCE := $(BUILD)/conformance
ENGINE ?= auto

## make conformance  the kernel's x86 selftests, valgrind's and QEMU's tests in the guest as on the host; ENGINE=interp
.PHONY: conformance
conformance:
	@tools/setup conformance
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/trapeze $(GUEST)/vmlinuz
	@test/conformance/fetch $(CONFORMANCE)/src
	@CC="$(CC)" SPEED="$(SPEED)" test/conformance/build $(CONFORMANCE)
	@printf '#!/bin/sh\nexec test/conformance/run %s %s %s %s\n' $(CONFORMANCE) $(OBJ)/trapeze $(GUEST)/vmlinuz \
		$(ENGINE) >$(CONFORMANCE)/$(ENGINE)-programs && chmod +x $(CONFORMANCE)/$(ENGINE)-programs
	@test/run $(CONFORMANCE)/log 1 $(CONFORMANCE)/$(ENGINE)-programs
