/*
 * sentences.c - what save_load() says to each kind of wrong stream; older and newer versions.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "test/cmocka.h"
#include "test/save/rig.h"
#include "test/save/stream.h"

static struct stream good; /* of a machine at power-on with one byte of memory set */

static int setup(void **state)
{
	struct pc *pc = rig_open_empty();

	(void)state;
	rig_store(pc, 0x5000, "x", 1);
	rig_store(pc, 0x7000, "y", 1);
	good = stream_of(pc);
	pc_close(pc);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(good.data);
	return 0;
}

/* Loads `s` into a new machine, which must refuse with a sentence that contains `text`. */
static void expect(const struct stream *s, const char *text)
{
	struct pc *pc = rig_open_empty();
	struct fail why = { 0, "" };

	assert_int_equal(stream_load(s, pc, &why), -EINVAL);
	assert_int_equal(why.code, -EINVAL);
	if (!strstr(why.text, text))
		print_error("'%s', expected '%s'\n", why.text, text);
	assert_non_null(strstr(why.text, text));
	pc_close(pc);
}

static struct stream copy(void)
{
	struct stream s = { NULL, 0, 0 };

	stream_write(&s, good.data, good.bytes);
	return s;
}

/* --- places --- */

struct wanted {
	const char *section, *field;
	struct place found;
};

static bool is_wanted(const struct place *p, void *arg)
{
	struct wanted *w = arg;

	if (strcmp(p->section, w->section) != 0 || strcmp(p->field, w->field) != 0)
		return false;
	w->found = *p;
	return true;
}

static struct place find(const char *section, const char *field)
{
	struct wanted w = { .section = section, .field = field };

	assert_true(each_field(&good, is_wanted, &w));
	return w.found;
}

/* The header of a section, by name. */
static size_t find_section(const char *name)
{
	size_t at = STREAM_HEADER;

	while (good.data[at + 6] != strlen(name) ||
	       memcmp(good.data + at + SECTION_HEADER, name, strlen(name)) != 0)
		at += SECTION_HEADER + stream_section(good.data, good.bytes, at) + 8;
	return at;
}

/* Makes `bytes` at `at` into other bytes, puts the checksums right, and expects the sentence. */
static void change(size_t at, const void *to, size_t bytes, const char *text)
{
	struct stream s = copy();

	memcpy(s.data + at, to, bytes);
	stream_fix(s.data, s.bytes);
	expect(&s, text);
	free(s.data);
}

static void set(const char *section, const char *field, uint64_t value, const char *text)
{
	struct place p = find(section, field);

	change(p.at, &value, p.width, text);
}

/* Takes `bytes` out of a section's payload at `at`, or puts new ones in, lengths made right. */
static void resize(size_t section_at, size_t at, const void *in, size_t in_bytes, size_t out_bytes,
		   const char *text)
{
	struct stream s = { NULL, 0, 0 };
	uint64_t payload;

	stream_write(&s, good.data, at);
	stream_write(&s, in, in_bytes);
	stream_write(&s, good.data + at + out_bytes, good.bytes - at - out_bytes);
	memcpy(&payload, s.data + section_at + 8, 8);
	payload += in_bytes - out_bytes;
	memcpy(s.data + section_at + 8, &payload, 8);
	stream_fix(s.data, s.bytes);
	expect(&s, text);
	free(s.data);
}

/* --- the stream's form --- */

static void header(void **state)
{
	struct stream none = { NULL, 0, 0 }, brief = { good.data, 12, 0 };

	(void)state;
	expect(&none, "this is not a saved machine");
	expect(&brief, "the saved machine is truncated");
	change(3, "X", 1, "this is not a saved machine");
	change(8, "\2", 1, "the saved machine is of format 2; this program knows 1");
	change(12, "\1", 1, "the saved machine is of format 1");
}

static void sections(void **state)
{
	struct stream s = copy();
	size_t pit = find_section("device pit");

	(void)state;
	change(pit, "TSEC", 4, "is damaged: no section where one belongs");
	change(pit + 6, "\0\0", 2, "is damaged: no section where one belongs");
	change(pit + 6, "\100\0", 2, "is damaged: no section where one belongs");
	change(pit + 8, "\377\377\377\377\377\377\377\377", 8, "the saved machine is truncated");
	s.data[pit + SECTION_HEADER + 20] ^= 1;
	expect(&s, "is damaged: a checksum is wrong");
	free(s.data);
	change(pit + 4, "\11\0", 2, "section 'device pit' is of version 9; this program knows ");
	change(pit + SECTION_HEADER + 9, "x", 1,
	       "the saved machine has 'device pix' where this one has 'device pit'");
}

static void fields(void **state)
{
	struct place tsc = find("machine", "tsc_khz"), level = find("machine", "irq_level"),
		     last = find("machine", "turn_aside");
	size_t payload = tsc.record_at;

	(void)state;
	change(tsc.record_at + 6, "T", 1, "section 'machine': field 'tsc_khz' is missing");
	change(tsc.record_at + 1, "\4", 1, "field 'tsc_khz' has another size");
	change(level.record_at + 2, "\27\0\0\0", 4, "field 'irq_level' has another size");
	resize(last.section_at, last.at + 3, NULL, 0, 1,
	       "section 'machine' ends inside field 'turn_aside'");
	resize(last.section_at, last.record_at + 4, NULL, 0, last.at + 4 - last.record_at - 4,
	       "section 'machine' ends before field 'turn_aside'");
	resize(tsc.section_at, payload, "\1\1\1\0\0\0zz", 8, 0, "field 'tsc_khz' is missing");
	resize(last.section_at, last.at + 4, "\1\1\1\0\0\0zz", 8, 0,
	       "section 'machine' has a field too many");
}

static void memory(void **state)
{
	size_t m = find_section("memory"), payload = m + SECTION_HEADER + 6, page = payload + 17;
	static const uint8_t far_page[8] = { 16 }, again[8] = { 5 };

	(void)state;
	change(payload, "\0\20", 2, "the saved machine's memory is not this one's: 0x10000 bytes");
	change(payload + 8, "\0\20", 2, "the saved machine's memory is not this one's");
	change(payload + 16, "\1", 1, "the saved machine's memory is not this one's");
	change(m + 4, "\2", 1, "the saved machine lacks memory that this one has");
	change(m + SECTION_HEADER, "nemory", 6, "the saved machine lacks memory");
	change(page, far_page, 8, "a saved memory page is out of place");
	change(page + 8 + 4096, again, 8, "a saved memory page is out of place");
	resize(m, page + 100, NULL, 0, 50, "a saved memory page is out of place");
}

static void end(void **state)
{
	size_t e = find_section("end");
	struct stream s = copy();

	(void)state;
	change(e + SECTION_HEADER, "enf", 3, "the saved machine has more in it than this one");
	resize(e, e + SECTION_HEADER + 3, "z", 1, 0, "the saved machine has more in it");
	stream_write(&s, "z", 1);
	expect(&s, "the saved machine has more in it than this one");
	free(s.data);
}

/* --- values --- */

static void machine_values(void **state)
{
	(void)state;
	set("machine", "cpu_model", 77, "another CPU model than trapeze-v1");
	set("machine", "tsc_khz", 0, "the saved TSC frequency is impossible");
	set("machine", "tsc_khz", UINT64_C(1) << 40, "the saved TSC frequency is impossible");
	set("machine", "now_ns", UINT64_C(1) << 62, "the saved time is impossible");
	set("machine", "turn", 1, "the saved turn is that of a CPU that there is not");
	set("machine", "turn_aside", 1, "the saved turn is that of a CPU that there is not");
	set("machine", "irq_level", 2, "a saved interrupt line is neither 0 nor 1");
	set("cpu 0", "instructions", 12345, "the saved time is before the saved instruction count");
	set("vcpu 0", "init_waiting", 2, "field 'init_waiting' is neither 0 nor 1");
}

static void cpu_values(void **state)
{
	(void)state;
	set("cpu 0", "cr0", UINT64_C(1) << 31, "CPU state: paging is on without protected mode");
	set("cpu 0", "efer", 0x400, "CPU state: EFER.LMA does not follow from LME and paging");
	set("cpu 0", "rflags", 0, "CPU state: RFLAGS has impossible bits");
	set("cpu 0", "rip", UINT64_C(1) << 32, "CPU state: RIP does not fit outside 64-bit mode");
	set("cpu 0", "activity", 9, "CPU state: the activity state is unknown");
	set("cpu 0", "pat", 2, "CPU state: PAT has an undefined memory type");
	set("cpu 0", "fpu.mxcsr", 0x10000, "CPU state: MXCSR has reserved bits set");
	set("cpu 0", "cr4", UINT64_C(1) << 63, "CPU state: CR4 has bits that the CPU model lacks");
}

static void device_values(void **state)
{
	(void)state;
	set("device uart0", "fifo_count", 17, "uart0: a FIFO holds more than it can");
	set("device uart0", "ier", 0x80, "uart0: a register has impossible bits");
	set("device pit", "out0", 2, "pit: ");
	set("device pic", "chip.lowest", 8, "pic: controller 0 is in no possible state");
	set("device rtc", "index", 0x80, "rtc: impossible index");
	set("device i8042", "output_port", 0, "i8042: the processor is held in reset");
	set("device reset", "control", 0xff, "reset: a register has impossible bits");
	set("device acpi", "status", 0xffff, "acpi: a PM1 register has impossible bits");
}

/* --- versions: a device that learned something --- */

struct learner {
	struct device dev;
	uint32_t old, young;
};

static const struct field fields_1[] = { FIELD(learner, old, 1), FIELD_END };
static const struct field fields_2[] = { FIELD(learner, old, 1), FIELD(learner, young, 2),
					 FIELD_END };

static void learner_reset(struct device *dev)
{
	struct learner *l = (struct learner *)dev;

	l->old = 1;
	l->young = 22;
}

static const struct device_ops learner_1 = {
	.type = "learner", .reset = learner_reset, .state = fields_1, .state_version = 1
};
static const struct device_ops learner_2 = {
	.type = "learner", .reset = learner_reset, .state = fields_2, .state_version = 2
};

static struct learner *add_learner(struct pc *pc, const struct device_ops *ops)
{
	struct learner *l = host_alloc(sizeof(*l));

	assert_non_null(l);
	device_add(pc->vm, &l->dev, ops, "learner");
	return l;
}

static void versions(void **state)
{
	struct pc *one = rig_open_empty(), *two = rig_open_empty(), *three = rig_open_empty();
	struct learner *l1 = add_learner(one, &learner_1), *l2 = add_learner(two, &learner_2);
	struct learner *l3 = add_learner(three, &learner_2);
	struct fail why = { 0, "" };
	struct stream s;

	(void)state;
	/* An older stream: the field it lacks keeps its value at power-on. */
	l1->old = 7;
	s = stream_of(one);
	assert_int_equal(stream_load(&s, two, &why), 0);
	assert_int_equal(l2->old, 7);
	assert_int_equal(l2->young, 22);
	free(s.data);
	/* The same version: all of it. */
	l2->young = 99;
	s = stream_of(two);
	assert_int_equal(stream_load(&s, three, &why), 0);
	assert_int_equal(l3->young, 99);
	/* A newer stream. */
	assert_int_equal(stream_load(&s, one, &why), -EINVAL);
	assert_string_equal(why.text,
			    "section 'device learner' is of version 2; this program knows 1");
	free(s.data);
	pc_close(one);
	pc_close(two);
	pc_close(three);
}

static void other_parts(void **state)
{
	struct pc *more = rig_open_empty(), *less = rig_open_empty();
	struct fail why = { 0, "" };
	struct stream s;

	(void)state;
	assert_int_equal(mem_add(more->vm, gpa(0x100000), 4096, NULL, false, NULL), 0);
	s = stream_of(more);
	assert_int_equal(stream_load(&s, less, &why), -EINVAL);
	assert_string_equal(why.text, "the saved machine has more in it than this one");
	free(s.data);
	s = stream_of(less);
	assert_int_equal(stream_load(&s, more, &why), -EINVAL);
	assert_string_equal(why.text, "the saved machine lacks memory that this one has");
	free(s.data);
	pc_close(more);
	pc_close(less);
}

/* A refused stream that was wrong in its form has changed nothing. */
static void refusal_changes_nothing(void **state)
{
	struct pc *pc = rig_open_guest();
	struct stream s = copy();
	struct save_hash before, after;
	int status;

	(void)state;
	vm_run(pc->vm, 3000, &status, NULL);
	before = save_hash(pc->vm);
	s.data[s.bytes - 1] ^= 1;
	assert_int_equal(stream_load(&s, pc, NULL), -EINVAL);
	after = save_hash(pc->vm);
	assert_true(before.low == after.low && before.high == after.high);
	free(s.data);
	pc_close(pc);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(header),
		cmocka_unit_test(sections),
		cmocka_unit_test(fields),
		cmocka_unit_test(memory),
		cmocka_unit_test(end),
		cmocka_unit_test(machine_values),
		cmocka_unit_test(cpu_values),
		cmocka_unit_test(device_values),
		cmocka_unit_test(versions),
		cmocka_unit_test(other_parts),
		cmocka_unit_test(refusal_changes_nothing),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
