/*
 * control_regs.c - control registers, XCR0, PKRU, and the instructions that flush the TLB.
 *
 * Every write is checked whole before anything changes; then the TLB loses exactly what
 * SDM 4.10.4 says (or more, where more is simpler), and the derived mode follows.
 *
 * Not modelled: caches, so WBINVD and INVD only count.
 *
 * Spec: SDM vol. 2 MOV CRn, LMSW, XSETBV, INVLPG, INVPCID; vol. 3 2.5, 4.10. Tested by
 * test/unit/system.c.
 * SPDX-License-Identifier: MIT
 */
#include "cpu/cpuid.h"
#include "engine/interp/place.h"
#include "engine/interp/system.h"
#include "engine/interp/vector.h"

#define CR0_WRITABLE                                                                               \
	((uint64_t)(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW |        \
		    CR0_CD | CR0_PG))
#define CR3_NOFLUSH (UINT64_C(1) << 63)
#define CR3_PCID    UINT64_C(0xfff)

static const struct cpu_model *model(const struct interp *c)
{
	return c->vcpu->vm->cpu_model;
}

static bool pae_paging(const struct x86_state *s)
{
	return s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !(s->efer & EFER_LMA);
}

bool control_load_pdpte(struct interp *c, struct x86_state *s, uint64_t cr3)
{
	struct walk_scratch scratch;
	struct walk_memory m = walk_memory_of(&scratch, c);

	if (page_load_pdpte(s, &m, cr3, cpu_model_phys_bits(model(c))))
		return true;
	raise_gp(c, 0);
	return false;
}

/* ---- CR0 ---- */

static bool cr0_allowed(struct interp *c, uint64_t cr0)
{
	const struct x86_state *s = &c->s;
	bool pg = cr0 & CR0_PG, was = s->cr0 & CR0_PG;

	if (cr0 >> 32 || (pg && !(cr0 & CR0_PE)) || (cr0 & CR0_NW && !(cr0 & CR0_CD)))
		return false;
	if (was && !pg && (x86_code64(s) || s->cr4 & CR4_PCIDE))
		return false;
	if (!was && pg && s->efer & EFER_LME)
		return s->cr4 & CR4_PAE && !(s->seg[CS].attr & SEG_L) &&
		       SEG_TYPE(s->tr.attr) != TYPE_TSS16_BUSY;
	return true;
}

static enum step write_cr0(struct interp *c, uint64_t cr0)
{
	struct x86_state *s = &c->s;
	uint64_t changed, efer = s->efer;

	if (!cr0_allowed(c, cr0))
		return raise_gp(c, 0);
	cr0 = (cr0 & CR0_WRITABLE) | CR0_ET;
	changed = cr0 ^ s->cr0;
	if (changed & CR0_PG && s->efer & EFER_LME)
		efer = cr0 & CR0_PG ? efer | EFER_LMA : efer & ~(uint64_t)EFER_LMA;
	if (changed & (CR0_PG | CR0_CD | CR0_NW) && cr0 & CR0_PG && s->cr4 & CR4_PAE &&
	    !(efer & EFER_LMA) && !control_load_pdpte(c, s, s->cr3))
		return STEP_FAULT;
	s->efer = efer;
	s->cr0 = cr0;
	/* Without paging PE changes no translation: boot loaders call the BIOS all the time. */
	if (changed & CR0_PG || (cr0 & CR0_PG && changed & CR0_WP))
		tlb_flush_all(&c->tlb);
	interp_mode_changed(c);
	return STEP_LEAVE;
}

/* ---- CR3 ---- */

static enum step write_cr3(struct interp *c, uint64_t cr3)
{
	struct x86_state *s = &c->s;
	bool pcide = s->cr4 & CR4_PCIDE;
	bool keep = pcide && cr3 & CR3_NOFLUSH;

	if (pcide)
		cr3 &= ~CR3_NOFLUSH;
	if (x86_long_mode(s) && cr3 >> cpu_model_phys_bits(model(c)))
		return raise_gp(c, 0);
	if (pae_paging(s) && !control_load_pdpte(c, s, cr3))
		return STEP_FAULT;
	s->cr3 = cr3;
	tlb_switch(&c->tlb, pcide ? cr3 & CR3_PCID : 0, !keep);
	exit_count(c->vcpu, EXIT_TLB_FLUSH);
	return STEP_LEAVE;
}

/* ---- CR4 ---- */

static bool cr4_allowed(struct interp *c, uint64_t cr4)
{
	const struct x86_state *s = &c->s;

	if (cr4 & ~cpu_model_cr4_mask(model(c)))
		return false;
	if (x86_long_mode(s) && !(cr4 & CR4_PAE))
		return false;
	if (cr4 & CR4_PCIDE && !(s->cr4 & CR4_PCIDE))
		return x86_long_mode(s) && !(s->cr3 & CR3_PCID);
	return true;
}

static enum step write_cr4(struct interp *c, uint64_t cr4)
{
	struct x86_state *s = &c->s;
	uint64_t changed = cr4 ^ s->cr4, before = s->cr4;

	if (!cr4_allowed(c, cr4))
		return raise_gp(c, 0);
	s->cr4 = cr4;
	if (changed & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP) && pae_paging(s) &&
	    !control_load_pdpte(c, s, s->cr3)) {
		s->cr4 = before;
		return STEP_FAULT;
	}
	if (changed &
	    (CR4_PAE | CR4_PSE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_LA57)) {
		tlb_flush_all(&c->tlb);
		tlb_switch(&c->tlb, cr4 & CR4_PCIDE ? s->cr3 & CR3_PCID : 0, true);
	}
	interp_mode_changed(c);
	return STEP_LEAVE;
}

/* ---- CR8: the local APIC's task priority ---- */

static enum step write_cr8(struct interp *c, uint64_t cr8)
{
	struct vcpu *vcpu = c->vcpu;
	bool inside;

	if (cr8 > 15)
		return raise_gp(c, 0);
	interp_sync(c);
	inside = gate_step_out(vcpu);
	host_mutex_lock(vcpu->vm->lock);
	if (vcpu->intc)
		vcpu->intc->set_tpr(vcpu->intc_arg, (uint8_t)cr8);
	host_mutex_unlock(vcpu->vm->lock);
	gate_step_back(vcpu, inside);
	return STEP_LEAVE;
}

static uint64_t read_cr8(struct interp *c)
{
	struct vcpu *vcpu = c->vcpu;
	uint8_t tpr = 0;
	bool inside;

	interp_sync(c);
	inside = gate_step_out(vcpu);
	host_mutex_lock(vcpu->vm->lock);
	if (vcpu->intc)
		tpr = vcpu->intc->get_tpr(vcpu->intc_arg);
	host_mutex_unlock(vcpu->vm->lock);
	gate_step_back(vcpu, inside);
	return tpr;
}

enum step mov_to_cr(struct interp *c, const struct insn *i)
{
	uint64_t value = get_reg(c, i->a, i->osz);

	if (c->cpl != 0)
		return raise_gp(c, 0);
	exit_count(c->vcpu, EXIT_CONTROL_REG);
	switch (i->op) {
	case 0: return write_cr0(c, value);
	case 2: c->s.cr2 = value; return STEP_NEXT;
	case 3: return write_cr3(c, value);
	case 4: return write_cr4(c, value);
	default: return write_cr8(c, value);
	}
}

enum step mov_from_cr(struct interp *c, const struct insn *i)
{
	uint64_t value;

	if (c->cpl != 0)
		return raise_gp(c, 0);
	exit_count(c->vcpu, EXIT_CONTROL_REG);
	switch (i->op) {
	case 0: value = c->s.cr0; break;
	case 2: value = c->s.cr2; break;
	case 3: value = c->s.cr3; break;
	case 4: value = c->s.cr4; break;
	default: value = read_cr8(c); break;
	}
	set_reg(c, i->a, i->osz, value);
	return STEP_NEXT;
}

/* Sets PE but never clears it. */
enum step lmsw(struct interp *c, const struct insn *i)
{
	uint16_t msw;

	if (c->cpl != 0)
		return raise_gp(c, 0);
	if (!(i->flags & INSN_MEM))
		msw = (uint16_t)get_reg(c, i->a, 2);
	else if (!mem_load16(c, i->seg, insn_ea(c, i), &msw))
		return STEP_FAULT;
	exit_count(c->vcpu, EXIT_CONTROL_REG);
	return write_cr0(c, (c->s.cr0 & ~UINT64_C(0xe)) | (msw & 0xf));
}

enum step smsw(struct interp *c, const struct insn *i)
{
	if (c->s.cr4 & CR4_UMIP && c->cpl > 0)
		return raise_gp(c, 0);
	if (!(i->flags & INSN_MEM)) {
		set_reg(c, i->a, i->osz, c->s.cr0);
		return STEP_NEXT;
	}
	return mem_store16(c, i->seg, insn_ea(c, i), (uint16_t)c->s.cr0) ? STEP_NEXT : STEP_FAULT;
}

enum step clts(struct interp *c, const struct insn *i)
{
	(void)i;
	if (c->cpl != 0)
		return raise_gp(c, 0);
	exit_count(c->vcpu, EXIT_CONTROL_REG);
	c->s.cr0 &= ~(uint64_t)CR0_TS;
	return STEP_NEXT;
}

/* ---- XCR0 and PKRU ---- */

static uint64_t edx_eax(const struct interp *c)
{
	return (uint32_t)c->r[RAX] | c->r[RDX] << 32;
}

static void set_edx_eax(struct interp *c, uint64_t value)
{
	c->r[RAX] = (uint32_t)value;
	c->r[RDX] = value >> 32;
}

enum step xsetbv(struct interp *c, const struct insn *i)
{
	uint64_t value = edx_eax(c);

	(void)i;
	if (!(c->s.cr4 & CR4_OSXSAVE))
		return raise_ud(c);
	if (c->cpl != 0 || (uint32_t)c->r[RCX] != 0 || !(value & 1) ||
	    value & ~cpu_model_xcr0_mask(model(c)) || (value & 6) == 4)
		return raise_gp(c, 0);
	exit_count(c->vcpu, EXIT_CONTROL_REG);
	c->s.xcr0 = value;
	return STEP_LEAVE;
}

enum step xgetbv(struct interp *c, const struct insn *i)
{
	uint32_t index = (uint32_t)c->r[RCX];

	(void)i;
	if (!(c->s.cr4 & CR4_OSXSAVE))
		return raise_ud(c);
	if (index == 1 && cpu_model_has(model(c), FEATURE_XGETBV1))
		set_edx_eax(c, c->s.xcr0 & xsave_in_use(c));
	else if (index == 0)
		set_edx_eax(c, c->s.xcr0);
	else
		return raise_gp(c, 0);
	return STEP_NEXT;
}

enum step rdpkru(struct interp *c, const struct insn *i)
{
	(void)i;
	if (!(c->s.cr4 & CR4_PKE))
		return raise_ud(c);
	if ((uint32_t)c->r[RCX] != 0)
		return raise_gp(c, 0);
	set_edx_eax(c, c->s.pkru);
	return STEP_NEXT;
}

enum step wrpkru(struct interp *c, const struct insn *i)
{
	(void)i;
	if (!(c->s.cr4 & CR4_PKE))
		return raise_ud(c);
	if ((uint32_t)c->r[RCX] != 0 || (uint32_t)c->r[RDX] != 0)
		return raise_gp(c, 0);
	tlb_flush_keys(&c->tlb, c->s.pkru ^ (uint32_t)c->r[RAX]);
	c->s.pkru = (uint32_t)c->r[RAX];
	return STEP_NEXT;
}

/* ---- Flushing ---- */

enum step invlpg(struct interp *c, const struct insn *i)
{
	uint64_t linear = insn_ea(c, i);

	if (c->cpl != 0)
		return raise_gp(c, 0);
	exit_count(c->vcpu, EXIT_TLB_FLUSH);
	if (c->code_bits == 64)
		linear += i->seg >= FS ? c->s.seg[i->seg].base : 0;
	else
		linear = (uint32_t)(linear + c->s.seg[i->seg].base);
	tlb_flush_page(&c->tlb, gva(linear));
	return STEP_LEAVE;
}

enum step invpcid(struct interp *c, const struct insn *i)
{
	uint64_t type = get_reg(c, i->a, i->osz), d[2], pcid;

	if (c->cpl != 0)
		return raise_gp(c, 0);
	if (!mem_read_slow(c, i->seg, insn_ea(c, i), d, sizeof(d)))
		return STEP_FAULT;
	pcid = d[0];
	if (type > 3 || d[0] >> 12)
		return raise_gp(c, 0);
	if (type < 2 && !(c->s.cr4 & CR4_PCIDE) && pcid != 0)
		return raise_gp(c, 0);
	if (type == 0 && !gva_canonical(d[1]))
		return raise_gp(c, 0);
	exit_count(c->vcpu, EXIT_TLB_FLUSH);
	if (type == 0)
		tlb_flush_pcid_page(&c->tlb, (unsigned)pcid, gva(d[1]));
	else if (type == 1)
		tlb_flush_pcid(&c->tlb, (unsigned)pcid);
	else
		tlb_flush_all(&c->tlb);
	return STEP_LEAVE;
}

enum step wbinvd(struct interp *c, const struct insn *i)
{
	(void)i;
	if (c->cpl != 0)
		return raise_gp(c, 0);
	exit_count(c->vcpu, EXIT_TLB_FLUSH);
	return STEP_NEXT;
}
