/*
 * aml.h - writes ACPI machine language, just what our DSDT is made of.
 *
 * Terms are appended to a blob in order. A term with a length is opened, filled and
 * closed; closing puts in the length, which is itself 1 to 4 bytes, before the contents.
 *
 * Spec: ACPI 6.4 chapter 20; resources: section 6.4. Tested by test/unit/acpi.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef BOOT_AML_H
#define BOOT_AML_H

#include "boot/bytes.h"

/* Each returns the mark that aml_close takes. Names: an optional '\', then 4 characters. */
size_t aml_scope(struct blob *b, const char *name);
size_t aml_device(struct blob *b, const char *name);
/* `count` elements follow. */
size_t aml_package(struct blob *b, uint8_t count);
/* A method without arguments or with one, and an If: statements follow. */
size_t aml_method(struct blob *b, const char *name, uint8_t arguments);
size_t aml_if(struct blob *b);
void aml_close(struct blob *b, size_t mark);

/* The object of that name, as a term; Return(object); Store(Arg0, object). */
void aml_object(struct blob *b, const char *name);
void aml_return(struct blob *b, const char *name);
void aml_store_arg0(struct blob *b, const char *name);

/* NameOp: the object follows. */
void aml_name(struct blob *b, const char *name);
void aml_integer(struct blob *b, uint64_t v);
void aml_string(struct blob *b, const char *text);
/* The integer form of an EISA id such as "PNP0501". */
void aml_eisa_id(struct blob *b, const char *id);

/* A buffer with resource descriptors in it, ended by aml_resources_close. */
struct aml_resources {
	struct blob bytes;
	uint8_t room[256];
};
void aml_resources_open(struct aml_resources *r);
void aml_resource_io(struct aml_resources *r, uint16_t port, uint8_t count);
void aml_resource_memory32(struct aml_resources *r, uint32_t base, uint32_t bytes);
/* What a bridge hands on: bus numbers, I/O ports, memory. Inclusive ends. */
void aml_resource_buses(struct aml_resources *r, uint16_t first, uint16_t last);
void aml_resource_ports(struct aml_resources *r, uint16_t first, uint16_t last);
void aml_resource_window32(struct aml_resources *r, uint32_t first, uint32_t last);
void aml_resource_window64(struct aml_resources *r, uint64_t first, uint64_t last);
/* Edge-triggered, active high, exclusive: what ISA has. */
void aml_resource_irq(struct aml_resources *r, uint8_t irq);
void aml_resources_close(struct blob *b, struct aml_resources *r);

#endif
