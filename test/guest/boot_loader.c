/*
 * boot_loader.c - from a disk through SeaBIOS: a boot sector of our own, and GRUB.
 *
 * The sector prints, reads another one, and echoes keys, all by the BIOS. GRUB is put together
 * by grub-mkimage, with its configuration inside: no file system is needed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "test/guest/session.h"

#define IMAGE   "/usr/share/seabios/bios-256k.bin"
#define GRUB    "/usr/lib/grub/i386-pc"
#define SECONDS 180 /* a sanitizer build on a busy machine */

/* At 0:7c00h. Prints the text at 7c60h; reads sector 1 to 8000h and prints that; echoes. */
static const uint8_t code[] = {
	0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, /* xor ax,ax; DS, SS:SP */
	0xbe, 0x60, 0x7c, 0xe8, 0x1b, 0x00,                   /* mov si,7c60h; call puts */
	0xbe, 0x50, 0x7c, 0xb4, 0x42, 0xcd, 0x13,             /* mov si,7c50h; ah=42h; int 13h */
	0x72, 0x0f,                                           /* jc to the hlt */
	0xbe, 0x00, 0x80, 0xe8, 0x0c, 0x00,                   /* mov si,8000h; call puts */
	0xb4, 0x00, 0xcd, 0x16, 0xe8, 0x10, 0x00, 0xeb, 0xf7, /* ah=0; int 16h; call putc; again */
	0xf4, 0xeb, 0xfd,                                     /* hlt; again */
	0xac, 0x84, 0xc0, 0x74, 0x05,                         /* puts: lodsb; test al,al; jz */
	0xe8, 0x03, 0x00, 0xeb, 0xf6, 0xc3,                   /* call putc; jmp puts; ret */
	0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, 0xc3,       /* putc: ah=0eh; bx=7; int 10h; ret */
};
static const uint8_t packet[16] = { 16, 0, 1, 0, 0x00, 0x80, 0, 0, 1 }; /* at 7c50h */

static char disk[] = "/tmp/trapeze-boot-XXXXXX";

static void write_disk(const void *bytes, size_t size)
{
	int fd;

	strcpy(disk + strlen(disk) - 6, "XXXXXX");
	fd = mkstemp(disk);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
}

static void start(struct session *s, const char *display)
{
	char word[200];
	char *argv[] = { (char *)session_need("TRAPEZE"),
			 "run",
			 "--engine",
			 (char *)session_engine,
			 "--disk",
			 word,
			 "--memory",
			 "64M",
			 "--display",
			 (char *)display,
			 NULL };

	snprintf(word, sizeof(word), "%s,format=raw", disk);
	session_start(s, argv);
}

static void finish(struct session *s)
{
	session_type(s, "\001x");
	assert_int_equal(session_end(s, SECONDS), 0);
	session_check_terminal(s);
	session_close(s);
	unlink(disk);
}

static void need(const char *file, const char *package)
{
	if (access(file, R_OK) == 0)
		return;
	print_message("skip - boot loader: %s is missing (package %s)\n", file, package);
	skip();
}

static void write_sectors(void)
{
	static uint8_t bytes[1024];

	memcpy(bytes, code, sizeof(code));
	memcpy(bytes + 0x50, packet, sizeof(packet));
	strcpy((char *)bytes + 0x60, "the boot sector, ");
	bytes[510] = 0x55;
	bytes[511] = 0xaa;
	strcpy((char *)bytes + 512, "the next one: ");
	write_disk(bytes, sizeof(bytes));
}

static void test_boot_sector(void **state)
{
	struct session s;

	(void)state;
	need(IMAGE, "seabios");
	write_sectors();
	start(&s, "text");
	session_expect(&s, "Booting from Hard Disk", SECONDS);
	session_expect(&s, "the boot sector, the next one: ", SECONDS);
	session_type(&s, "Keys!");
	session_expect(&s, "the next one: Keys!", SECONDS);
	finish(&s);
}

/* SeaBIOS takes keys from the serial line, too. */
static void test_boot_sector_serial(void **state)
{
	struct session s;

	(void)state;
	need(IMAGE, "seabios");
	write_sectors();
	start(&s, "serial");
	session_expect(&s, "the boot sector, the next one: ", SECONDS);
	session_type(&s, "Keys!");
	session_expect(&s, "Keys!", SECONDS);
	finish(&s);
}

static const char menu[] = "serial --unit=0 --speed=115200\n"
			   "terminal_input %1$s\n"
			   "terminal_output %1$s\n"
			   "set timeout=-1\n"
			   "menuentry 'First entry' { echo one; sleep 999 }\n"
			   "menuentry 'Second entry' { echo the second it is; sleep 999 }\n";

static void write_grub(const char *terminal)
{
	static const char make[] =
		"cd '%s' && mkdir -p boot/grub && mv menu boot/grub/grub.cfg &&"
		" tar -cf memdisk boot && grub-mkimage -O i386-pc -o core -m memdisk"
		" -p '(memdisk)/boot/grub' memdisk tar normal serial terminal echo sleep &&"
		" cat " GRUB "/boot.img core >disk";
	static uint8_t bytes[1 << 20];
	char directory[] = "/tmp/trapeze-grub-XXXXXX", text[1000], path[200];
	size_t size;
	FILE *f;

	need(IMAGE, "seabios");
	need(GRUB "/boot.img", "grub-pc-bin");
	need("/usr/bin/grub-mkimage", "grub-common");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/menu", directory);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, menu, terminal);
	fclose(f);
	snprintf(text, sizeof(text), make, directory);
	assert_int_equal(system(text), 0);
	snprintf(path, sizeof(path), "%s/disk", directory);
	f = fopen(path, "r");
	assert_non_null(f);
	size = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	write_disk(bytes, size);
	snprintf(text, sizeof(text), "rm -r '%s'", directory);
	assert_int_equal(system(text), 0);
}

static void use_grub(const char *display)
{
	struct session s;

	start(&s, display);
	session_expect(&s, "GNU GRUB", SECONDS);
	session_expect(&s, "First entry", SECONDS);
	session_expect(&s, "Second entry", SECONDS);
	session_type(&s, "\033[B");
	session_expect(&s, "Second entry", SECONDS);
	session_type(&s, "\r");
	session_expect(&s, "the second it is", SECONDS);
	finish(&s);
}

static void test_grub_on_the_screen(void **state)
{
	(void)state;
	write_grub("console");
	use_grub("text");
}

static void test_grub_on_the_serial_line(void **state)
{
	(void)state;
	write_grub("serial");
	use_grub("serial");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot_sector),
		cmocka_unit_test(test_boot_sector_serial),
		cmocka_unit_test(test_grub_on_the_screen),
		cmocka_unit_test(test_grub_on_the_serial_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
