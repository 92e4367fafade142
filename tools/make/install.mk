# `make install`: the program, the library, the public header, the manual page, the completion.

PREFIX ?= /usr/local
INSTALL ?= install
TO = $(DESTDIR)$(PREFIX)

## make install      into PREFIX (default /usr/local), below DESTDIR
.PHONY: install
install: all
	$(INSTALL) -D -m 755 $(OBJ)/trapeze $(TO)/bin/trapeze
	$(INSTALL) -D -m 644 include/trapeze.h $(TO)/include/trapeze.h
	$(INSTALL) -D -m 644 $(OBJ)/lib/libtrapeze.a $(TO)/lib/libtrapeze.a
	$(INSTALL) -D -m 755 $(OBJ)/lib/$(SONAME) $(TO)/lib/$(SONAME)
	ln -sf $(SONAME) $(TO)/lib/libtrapeze.so
	$(INSTALL) -d $(TO)/lib/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|' $(OBJ)/lib/trapeze.pc >$(TO)/lib/pkgconfig/trapeze.pc
	$(INSTALL) -D -m 644 docs/trapeze.1 $(TO)/share/man/man1/trapeze.1
	$(INSTALL) -D -m 644 tools/completion/trapeze $(TO)/share/bash-completion/completions/trapeze
