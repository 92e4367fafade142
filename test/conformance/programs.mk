# The conformance programs: sources (SRC, from fetch) to executables OUT/SUITE/NAME; called by build.
#
# Linked dynamically: 200 small files and two C libraries for the guest. `make -k`: one program that does not
# compile here leaves the others alone. BITS=64 leaves out what needs gcc -m32.

KERNEL := $(SRC)/selftests/tools/testing/selftests/x86
VALGRIND := $(SRC)/valgrind/none/tests
QEMU := $(SRC)/qemu/tests/tcg
BITS ?= 64 32

# -w: the sources are others', and their warnings too.
FLAGS := -g -w -no-pie
comma := ,
SELF := $(lastword $(MAKEFILE_LIST))
names = $(notdir $(basename $(1)))

.PHONY: all
.DELETE_ON_ERROR:
.SECONDARY:

# The kernel's x86 selftests: what its own Makefile lists.
BOTH := single_step_syscall sysret_ss_attrs syscall_nt test_mremap_vdso check_initial_reg_state sigreturn iopl ioperm \
	test_vsyscall mov_ss_trap sigtrap_loop syscall_arg_fault fsgsbase_restore sigaltstack ldt_gdt ptrace_syscall
K64 := $(BOTH) fsgsbase sysret_rip syscall_numbering corrupt_xstate_header amx
K32 := $(BOTH) entry_from_vm86 test_syscall_vdso unwind_vdso test_FCMOV test_FCOMI test_FISTTP vdso_restorer
KFLAGS := $(FLAGS) -O2 -std=gnu99 -pthread -DCAN_BUILD_32 -DCAN_BUILD_64
KEXTRA_sysret_ss_attrs_64 := $(KERNEL)/thunks.S
KEXTRA_ptrace_syscall_32 := $(KERNEL)/raw_syscall_helper_32.S
KEXTRA_test_syscall_vdso_32 := $(KERNEL)/thunks_32.S
KEXTRA_check_initial_reg_state_64 := -Wl,-ereal_start -static
KEXTRA_check_initial_reg_state_32 := -Wl,-ereal_start -static
KALL := $(if $(filter 64,$(BITS)),$(K64:%=$(OUT)/selftests/%_64)) $(if $(filter 32,$(BITS)),$(K32:%=$(OUT)/selftests/%_32))

$(OUT)/selftests/%_64: $(KERNEL)/%.c
	@mkdir -p $(@D)
	$(CC) -m64 $(KFLAGS) -o $@ $< $(KEXTRA_$*_64) -lrt -ldl
$(OUT)/selftests/%_32: $(KERNEL)/%.c
	@mkdir -p $(@D)
	$(CC) -m32 $(KFLAGS) -o $@ $< $(KEXTRA_$*_32) -lrt -ldl -lm

# valgrind's none/tests: every C file and every generated instruction test; allexec is a script's tool, and what
# stands in NAME.disabled is switched off there too.
vprograms = $(filter-out allexec cpuid_c cpuid_s avx_tests $(call names,$(wildcard $(VALGRIND)/$(1)/*.disabled)), \
	$(call names,$(wildcard $(VALGRIND)/$(1)/*.c $(VALGRIND)/$(1)/*.def)))
V64 := $(call vprograms,amd64)
V32 := $(call vprograms,x86) cpuid
VFLAGS := $(FLAGS) -DVGO_linux -O -fno-strict-aliasing -I$(SRC)/valgrind -I$(SRC)/valgrind/include
VEXTRA_fpu_lazy_eflags := -O2 -march=pentiumpro
VALL := $(if $(filter 64,$(BITS)),$(V64:%=$(OUT)/valgrind-amd64/%)) $(if $(filter 32,$(BITS)),$(V32:%=$(OUT)/valgrind-x86/%))

$(OUT)/gen/%.c: $(VALGRIND)/%.def
	@mkdir -p $(@D)
	perl $(dir $<)gen_insn_test.pl <$< >$@
$(OUT)/valgrind-amd64/%: $(VALGRIND)/amd64/%.c
	@mkdir -p $(@D)
	$(CC) -m64 $(VFLAGS) $(VEXTRA_$*) -o $@ $< -lm -pthread
$(OUT)/valgrind-amd64/%: $(OUT)/gen/amd64/%.c
	@mkdir -p $(@D)
	$(CC) -m64 $(VFLAGS) -I$(VALGRIND)/amd64 -o $@ $< -lm
$(OUT)/valgrind-x86/cpuid: $(VALGRIND)/x86/cpuid_c.c $(VALGRIND)/x86/cpuid_s.S
	@mkdir -p $(@D)
	$(CC) -m32 $(VFLAGS) -mmmx -msse -o $@ $^
$(OUT)/valgrind-x86/%: $(VALGRIND)/x86/%.c
	@mkdir -p $(@D)
	$(CC) -m32 $(VFLAGS) -mmmx -msse $(VEXTRA_$*) -o $@ $< -lm -pthread
$(OUT)/valgrind-x86/%: $(OUT)/gen/x86/%.c
	@mkdir -p $(@D)
	$(CC) -m32 $(VFLAGS) -mmmx -msse -I$(VALGRIND)/x86 -o $@ $< -lm

# QEMU's tests/tcg for Linux user programs: i386/ and multiarch/ in both widths, x86_64/. fprem takes many minutes in
# an interpreter; QEMU's own makefile leaves it to SPEED=slow, and so does this one.
I386 := $(filter-out $(if $(filter slow,$(SPEED)),,test-i386-fprem) test-3dnow test-avx test-mmx test-i386-ssse3 test-i386 hello-i386,$(call names,$(wildcard $(QEMU)/i386/*.c)))
MULTI := $(call names,$(wildcard $(QEMU)/multiarch/*.c $(QEMU)/multiarch/linux/*.c)) sha512-sse
Q64 := $(I386) $(MULTI) $(call names,$(wildcard $(QEMU)/x86_64/*.c)) test-x86_64 test-mmx test-avx test-i386-ssse3
Q32 := $(filter-out test-i386-bmi2,$(I386)) $(MULTI) test-i386 hello-i386
QFLAGS := $(FLAGS) -O2 -fno-strict-aliasing -I$(SRC)/qemu/include -I$(QEMU)/multiarch/libs -I$(QEMU)/i386 -I$(OUT)/gen
QEXTRA_test-i386-sse-exceptions := -msse4.1 -mfpmath=sse
QEXTRA_test-i386-pcmpistri := -msse4.2
QALL := $(if $(filter 64,$(BITS)),$(Q64:%=$(OUT)/qemu-x86_64/%)) $(if $(filter 32,$(BITS)),$(Q32:%=$(OUT)/qemu-i386/%))

$(OUT)/gen/test-mmx.h: $(QEMU)/i386/x86.csv
	@mkdir -p $(@D)
	python3 $(QEMU)/i386/test-mmx.py $< $@ MMX SSE SSE2 SSE3 SSSE3
# VAES is not in Trapeze's CPU model, and one #UD would end the program.
$(OUT)/gen/test-avx.h: $(QEMU)/i386/x86.csv $(SELF)
	@mkdir -p $(@D)
	sed 's/"VAES+AVX"/"none"/' $(QEMU)/i386/test-avx.py >$(@D)/test-avx.py
	python3 $(@D)/test-avx.py $< $@
# Debian's kernel has no 16-bit segments (X86_16BIT), and the program does not survive it.
$(OUT)/gen/test-i386.c: $(QEMU)/i386/test-i386.c $(SELF)
	@mkdir -p $(@D)
	sed '/^    test_code16();/d' $< >$@
$(OUT)/qemu-x86_64/test-mmx: $(OUT)/gen/test-mmx.h
$(OUT)/qemu-x86_64/test-avx: $(OUT)/gen/test-avx.h
QEXTRA_test-mmx := -masm=intel -O
QEXTRA_test-avx := -mavx -masm=intel -O

define qemu_rules
$(OUT)/qemu-$(1)/test-x86_64: $(QEMU)/i386/test-i386.c
	@mkdir -p $$(@D)
	$$(CC) -m$(2) $$(QFLAGS) -o $$@ $$< -lm
$(OUT)/qemu-$(1)/test-i386: $(OUT)/gen/test-i386.c
	@mkdir -p $$(@D)
	$$(CC) -m$(2) $$(QFLAGS) -fno-pie -o $$@ $$< $(QEMU)/i386/test-i386-code16.S $(QEMU)/i386/test-i386-vm86.S -lm
$(OUT)/qemu-$(1)/hello-i386: $(QEMU)/i386/hello-i386.c
	@mkdir -p $$(@D)
	$$(CC) -m$(2) $$(QFLAGS) -ffreestanding -nostdlib -o $$@ $$<
$(OUT)/qemu-$(1)/sha512-sse: $(QEMU)/multiarch/sha512.c
	@mkdir -p $$(@D)
	$$(CC) -m$(2) $$(QFLAGS) -msse4.1 -O3 -o $$@ $$<
$(OUT)/qemu-$(1)/float_%: $(QEMU)/multiarch/float_%.c
	@mkdir -p $$(@D)
	$$(CC) -m$(2) $$(QFLAGS) -o $$@ $$< $(QEMU)/multiarch/libs/float_helpers.c -lm
$(foreach d,i386 x86_64 multiarch multiarch/linux,
$(OUT)/qemu-$(1)/%: $(QEMU)/$(d)/%.c
	@mkdir -p $$(@D)
	$$(CC) -m$(2) $$(QFLAGS) $$(QEXTRA_$$*) -o $$@ $$< -lm -lrt -pthread
)
endef
$(eval $(call qemu_rules,x86_64,64))
$(eval $(call qemu_rules,i386,32))

# QEMU's tests without an operating system: its boot code, told to print on the serial port instead of QEMU's
# debug console, and to say its result on port 0xf4 whether it is 0 or not.
SFLAGS := -w -O0 -nostdlib -static -no-pie -fno-pie -fno-stack-protector -fcf-protection=none -I$(QEMU)/minilib \
	-DCHECK_UNALIGNED=1 -Wl,--build-id=none
SALL := $(foreach d,$(if $(filter 64,$(BITS)),x86_64) $(if $(filter 32,$(BITS)),i386),$(OUT)/system/$(d)-memory \
	$(OUT)/system/$(d)-hello)

define system_rules
$(OUT)/gen/$(1)-boot.S: $(QEMU)/$(1)/system/boot.S $(SELF)
	@mkdir -p $$(@D)
	sed -e '/jz 1f/d' -e 's/out %al,.0xE9/$(3); push $(4); mov $$$$0x3f8, %edx; out %al, %dx; pop $(4)/' $$< >$$@
$(OUT)/system/$(1)-%: $(QEMU)/multiarch/system/%.c $(OUT)/gen/$(1)-boot.S
	@mkdir -p $$(@D)
	$$(CC) -m$(2) $$(SFLAGS) -Wl,-T,$(QEMU)/$(1)/system/kernel.ld -Wl,-melf_$(1) -o $$@ $$^ $(QEMU)/minilib/printf.c -lgcc
endef
$(eval $(call system_rules,x86_64,64,mov %edi$(comma) %eax,%rdx))
$(eval $(call system_rules,i386,32,mov 8(%ebp)$(comma) %eax,%edx))

all: $(KALL) $(VALL) $(QALL) $(SALL)
list:
	@printf '%s\n' $(KALL:$(OUT)/%=%) $(VALL:$(OUT)/%=%) $(QALL:$(OUT)/%=%)
