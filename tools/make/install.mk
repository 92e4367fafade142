# `make install`: the program, the library, the public header, the manual page, the completion.

PREFIX ?= /usr/local
INSTALL ?= install

## make install      into PREFIX (default /usr/local), below DESTDIR
.PHONY: install
install: all
	$(INSTALL) -D -m 755 $(OBJ)/trapeze $(DESTDIR)$(PREFIX)/bin/trapeze
	$(INSTALL) -D -m 644 docs/trapeze.1 $(DESTDIR)$(PREFIX)/share/man/man1/trapeze.1
	$(INSTALL) -D -m 644 tools/completion/trapeze $(DESTDIR)$(PREFIX)/share/bash-completion/completions/trapeze
