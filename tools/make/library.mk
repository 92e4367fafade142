# The library that others link: include/trapeze.h and nothing else is visible of it.
#
# build/libtrapeze.a is one object: all of the monitor, with every name but trapeze_* made local.
# build/MODE/libtrapeze.a, which the program and the tests link, has the names of every room.

SONAME := libtrapeze.so.0
# LIBS_STATIC: what a program that links the static library must add.
LIBS_STATIC := $(LIB_NEEDS) -pthread
API_VERSION := $(shell sed -n 's/^.define TRAPEZE_VERSION "\(.*\)"/\1/p' board/version.h)

$(OBJ)/lib/trapeze.o: $(OBJ)/board/api.o $(OBJ)/board/api_cpu.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -r -nostdlib -o $@ $^
	$(Q)objcopy -w --keep-global-symbol='trapeze_*' $@

$(OBJ)/lib/libtrapeze.a: $(OBJ)/lib/trapeze.o
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcs $@ $^

$(OBJ)/lib/$(SONAME): $(OBJ)/lib/trapeze.o
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -o $@ $^ $(LIB_NEEDS)

$(BUILD)/libtrapeze.a: $(OBJ)/lib/libtrapeze.a FORCE
	@ln -sf $(MODE)/lib/$(@F) $@

$(BUILD)/$(SONAME): $(OBJ)/lib/$(SONAME) FORCE
	@ln -sf $(MODE)/lib/$(@F) $@

$(BUILD)/libtrapeze.so: $(BUILD)/$(SONAME)
	@ln -sf $(SONAME) $@

# @PREFIX@ is filled in by `make install`.
$(OBJ)/lib/trapeze.pc: board/version.h Makefile tools/make/library.mk
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=@PREFIX@' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
		'Name: trapeze' 'Description: virtual machines as a library' \
		'Version: $(API_VERSION)' 'Libs: -L$${libdir} -ltrapeze' \
		'Libs.private: $(LIBS_STATIC)' 'Cflags: -I$${includedir}' >$@

# Examples see what an installed library would give them: the header and the library.
EXAMPLE_SRC := $(sort $(wildcard examples/*.c))
EXAMPLE_BIN := $(EXAMPLE_SRC:%.c=$(OBJ)/%)
$(EXAMPLE_BIN): $(OBJ)/%: %.c $(wildcard examples/*.S examples/*.h) include/trapeze.h $(OBJ)/lib/libtrapeze.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) -std=gnu17 $(CFLAGS_$(MODE)) $(WARN) -Iinclude -o $@ $< $(wildcard $(<:.c=-*.S)) \
		$(OBJ)/lib/libtrapeze.a $(LIBS_STATIC)

$(BUILD)/examples/%: $(OBJ)/examples/% FORCE
	@mkdir -p $(@D)
	@ln -sf ../$(MODE)/examples/$* $@

LIBRARY := $(addprefix $(BUILD)/,libtrapeze.a $(SONAME) libtrapeze.so)

## make library      build/libtrapeze.a and .so, and the examples on it (part of make)
.PHONY: library
library: $(LIBRARY) $(EXAMPLE_SRC:%.c=$(BUILD)/%) $(OBJ)/lib/trapeze.pc
all: library
tests: library
