# `make soak`: tests that take long, for a night or before a release.

# How often disk writers are killed.
SOAK_ROUNDS ?= 200

## make soak         kill disk writers SOAK_ROUNDS=200 times; every image is whole, flushed data is there
.PHONY: soak
soak:
	@tools/setup test
	@$(MAKE) --no-print-directory $(OBJ)/test/unit/crash
	$(OBJ)/test/unit/crash $(SOAK_ROUNDS)
