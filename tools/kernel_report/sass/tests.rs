//! A small kernel as `nvdisasm` prints it: a loop around a load and an exponential, of which the assembler made two
//! copies; a guarded store behind a branch; a slow way that only a call reaches.

use super::flow::{blocks, loops};
use super::weigh::weigh;
use super::*;

const SAMPLE: &str = r#"
	.headerflags	@"EF_CUDA_SM90"
//--------------------- .text.sample              --------------------------
	.section	.text.sample,"ax",@progbits
        .global         sample
sample:
.text.sample:
	//## File ".nv_debug_ptx_txt", line 10
        /*0000*/                   LDC R1, c[0x0][0x28] ;          /* 0x00000a00ff017b82 */
                                                                   /* 0x000e240000000800 */
        /*0010*/                   IMAD.MOV.U32 R2, RZ, RZ, -UR4 ; /* 0x00000a00ff017b82 */
                                                                   /* 0x000fe200000e00ff */
.L_x_2:
	//## File ".nv_debug_ptx_txt", line 20
        /*0020*/                   LDG.E R4, desc[UR4][R2.64] ;    /* 0x0000000402047981 */
                                                                   /* 0x000ea2000c1e1900 */
	//## File ".nv_debug_ptx_txt", line 21
        /*0030*/                   MUFU.EX2 R4, R4 ;               /* 0x0000000400047308 */
                                                                   /* 0x000e240000000800 */
	//## File ".nv_debug_ptx_txt", line 20
        /*0040*/                   LDG.E R5, desc[UR4][R2.64+0x4] ;
	//## File ".nv_debug_ptx_txt", line 21
        /*0050*/                   MUFU.EX2 R5, R5 ;
	//## File ".nv_debug_ptx_txt", line 22
        /*0060*/                   FFMA R6, R4, R5, R6 ;
	//## File ".nv_debug_ptx_txt", line 23
        /*0070*/               @P0 BRA `(.L_x_2) ;
	//## File ".nv_debug_ptx_txt", line 24, inlined at ".nv_debug_ptx_txt", line 9
        /*0080*/               @P1 BRA `(.L_x_3) ;
        /*0090*/                   FADD R6, R6, 1 ;
	//## File ".nv_debug_ptx_txt", line 25
        /*00a0*/                   STS [R7], R6 ;
        /*00b0*/                   CALL.REL.NOINC `($sample$slow) ;
.L_x_3:
	//## File ".nv_debug_ptx_txt", line 30
        /*00c0*/               @!P2 STG.E desc[UR4][R2.64], R6 ;
        /*00d0*/                   EXIT ;
        .type           $sample$slow,@function
$sample$slow:
	//## File ".nv_debug_ptx_txt", line 22
        /*00e0*/                   MUFU.RCP R6, R6 ;
        /*00f0*/                   RET.REL.NODEC R8 `(sample) ;
.L_x_9:
"#;

fn sample() -> Function {
    parse(SAMPLE).remove("sample").unwrap()
}

#[test]
fn reads_instructions() {
    let code = sample().code;
    assert_eq!(code.len(), 16);
    assert_eq!((code[0].root(), code[0].line, code[0].stall), ("LDC", 10, 2));
    assert_eq!(code[1].unit(), Unit::Move);
    assert_eq!((code[2].opcode.as_str(), code[2].operands.as_str()), ("LDG.E", "R4, desc[UR4][R2.64]"));
    assert_eq!((code[7].root(), code[7].guarded, code[7].target), ("BRA", true, Some(2)));
    assert_eq!((code[8].line, code[8].target), (24, Some(12)));
    assert_eq!((code[12].unit(), code[12].guarded), (Unit::Global, true));
    let units = [2, 3, 6, 9, 10, 13].map(|at| code[at].unit());
    use Unit::{Control, Fma, Global, Mufu, Shared};
    assert_eq!(units, [Global, Mufu, Fma, Fma, Shared, Control]);
}

#[test]
fn finds_blocks_and_loops() {
    let blocks = blocks(&sample());
    let firsts: Vec<usize> = blocks.iter().map(|block| block.first).collect();
    assert_eq!(firsts, [0, 2, 8, 9, 12, 14]);
    assert_eq!(blocks[1].next, [2, 1]);
    assert!(blocks[4].reached && !blocks[5].reached, "only a call reaches the last block");
    let loops = loops(&blocks);
    assert_eq!(loops.len(), 1);
    assert_eq!((loops[0].head, &loops[0].body[..], loops[0].innermost), (1, &[1][..], true));
}

#[test]
fn weighs_blocks_by_the_counts_of_ptx_lines() {
    // 4 warps loop 10 times each; in the PTX a loop has one load, executed 80 times. Half of the warps store.
    let lines =
        BTreeMap::from([(10, 4.0), (20, 80.0), (21, 80.0), (22, 80.0), (23, 80.0), (24, 4.0), (25, 2.0)]);
    let function = sample();
    let weighed = weigh(&function, &lines, 4.0);
    assert_eq!(weighed.counts, [4.0, 40.0, 4.0, 2.0, 4.0, 0.0]);
    let kinds = weighed.kinds(0..weighed.blocks.len());
    assert_eq!(kinds[Unit::Mufu as usize], 80.0);
    assert_eq!(kinds.iter().sum::<f64>(), 2.0 * 4.0 + 6.0 * 40.0 + 4.0 + 3.0 * 2.0 + 2.0 * 4.0);
    let hot = weighed.hot_loops();
    assert_eq!((hot.len(), hot[0].addresses, hot[0].iterations), (1, [0x20, 0x80], 40.0));
    assert_eq!(hot[0].kinds.iter().sum::<f64>(), 6.0);
}

#[test]
fn code_before_a_loop_is_not_weighed_by_lines_in_it() {
    // Line 20 is in the loop of the PTX; its machine code stands before the loop, where half of the warps come by.
    let text = r#"
.text.moved:
	//## File ".nv_debug_ptx_txt", line 10
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/               @P0 BRA `(.L_x_2) ;
	//## File ".nv_debug_ptx_txt", line 20
        /*0020*/                   IMAD R2, R1, R1, RZ ;
.L_x_1:
	//## File ".nv_debug_ptx_txt", line 21
        /*0030*/                   LDG.E R4, desc[UR4][R2.64] ;
        /*0040*/               @P1 BRA `(.L_x_1) ;
.L_x_2:
	//## File ".nv_debug_ptx_txt", line 30
        /*0050*/                   STG.E desc[UR4][R2.64], R4 ;
        /*0060*/                   EXIT ;
"#;
    let function = parse(text).remove("moved").unwrap();
    let lines = BTreeMap::from([(10, 4.0), (20, 80.0), (21, 80.0), (30, 4.0)]);
    let counts = weigh(&function, &lines, 4.0).counts;
    assert_eq!((counts[0], counts[2], counts[3]), (4.0, 80.0, 4.0));
    assert!(counts[1] <= 4.0, "{counts:?}");
}
