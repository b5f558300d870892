use super::*;

fn read(bytes: &[u8]) -> Pickle<'_> {
    Pickle::read(bytes, 0).unwrap()
}

fn error(bytes: &[u8]) -> String {
    Pickle::read(bytes, 0).unwrap_err().to_string()
}

#[test]
fn plain_values_of_all_protocols() {
    let cases: [(&[u8], Value); 20] = [
        (b"N.", Value::None),
        (b"\x80\x02\x88.", Value::Bool(true)),
        (b"I01\n.", Value::Bool(true)),
        (b"I-7\n.", Value::Int(-7)),
        (b"L12L\n.", Value::Int(12)),
        (b"J\xfe\xff\xff\xff.", Value::Int(-2)),
        (b"K\xff.", Value::Int(255)),
        (b"M\x01\x02.", Value::Int(513)),
        (b"\x8a\x00.", Value::Int(0)),
        (b"\x8a\x02\x00\x80.", Value::Int(-32768)),
        (b"\x8b\x01\x00\x00\x00\x05.", Value::Int(5)),
        (b"\x8a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09.", Value::Long(&[1, 2, 3, 4, 5, 6, 7, 8, 9])),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", Value::Float(1.5)),
        (b"F2.5\n.", Value::Float(2.5)),
        (b"S'abc'\n.", Value::Str("abc")),
        (b"Vabc\n.", Value::Str("abc")),
        (b"X\x02\x00\x00\x00\xc3\xa9.", Value::Str("\u{e9}")),
        (b"\x80\x04\x95\x07\0\0\0\0\0\0\0\x8c\x02ab\x94.", Value::Str("ab")),
        (b"U\x02\xff\x00.", Value::Bytes(&[255, 0])),
        (b"\x8e\x01\0\0\0\0\0\0\0z.", Value::Bytes(b"z")),
    ];
    for (bytes, want) in cases {
        assert_eq!(read(bytes).root(), want, "{bytes:?}");
    }
}

#[test]
fn containers_nest_and_are_shared() {
    // {'a': [1, 2], 'b': the same list, 'c': (3,)}, then 4 appended through the memo.
    let bytes = b"\x80\x02}(U\x01a]q\x01(K\x01K\x02eU\x01bh\x01U\x01cK\x03\x85uh\x01K\x04a0.rest";
    let pickle = read(bytes);
    assert_eq!(pickle.end(), bytes.len() - 4);
    let (a, b) = (pickle.get(pickle.root(), "a").unwrap(), pickle.get(pickle.root(), "b").unwrap());
    assert_eq!(a, b);
    assert_eq!(pickle.items(a).unwrap(), [1, 2, 4].map(Value::Int));
    assert_eq!(pickle.items(pickle.get(pickle.root(), "c").unwrap()).unwrap(), [Value::Int(3)]);
    assert_eq!(pickle.get(pickle.root(), "d"), None);
    assert_eq!(pickle.pairs(Value::None), None);
}

#[test]
fn a_key_that_comes_again_wins() {
    let pickle = read(b"}(U\x01aK\x01U\x01aK\x02u.");
    assert_eq!(pickle.get(pickle.root(), "a"), Some(Value::Int(2)));
}

#[test]
fn calls_are_kept_and_not_made() {
    let pickle = read(b"cos\nsystem\n(U\x08rm -rf /tR.");
    let (module, name, object) = pickle.object(pickle.root()).unwrap();
    assert_eq!((module, name), ("os", "system"));
    assert_eq!(pickle.items(object.args).unwrap(), [Value::Bytes(b"rm -rf /")]);
}

#[test]
fn objects_of_every_kind_of_call() {
    let namespace =
        b"\x80\x04\x8c\x08argparse\x94\x8c\x09Namespace\x94\x93)\x81}\x8c\x02lrG?\xf0\0\0\0\0\0\0sb.";
    let inst = b"(K\x01iargparse\nNamespace\n}\x8c\x02lrG?\xf0\0\0\0\0\0\0sb.";
    let obj = b"(cargparse\nNamespace\nK\x01o}\x8c\x02lrG?\xf0\0\0\0\0\0\0sb.";
    let extended = b"cargparse\nNamespace\n)}\x92}\x8c\x02lrG?\xf0\0\0\0\0\0\0sb.";
    for bytes in [&namespace[..], inst, obj, extended] {
        let pickle = read(bytes);
        let (module, name, object) = pickle.object(pickle.root()).unwrap();
        assert_eq!((module, name), ("argparse", "Namespace"));
        assert_eq!(pickle.get(object.state.unwrap(), "lr"), Some(Value::Float(1.0)));
    }
}

#[test]
fn ordered_dicts_of_python_2_and_3() {
    let three = read(b"ccollections\nOrderedDict\n)R(U\x01aK\x01u.");
    let two = read(b"ccollections\nOrderedDict\n](](U\x01aK\x01ee\x85R.");
    for pickle in [three, two] {
        assert_eq!(pickle.get(pickle.root(), "a"), Some(Value::Int(1)));
    }
}

#[test]
fn errors_name_opcode_and_byte() {
    assert_eq!(
        error(b"\x80\x02K\x01\xfe."),
        "pickle opcode 0xfe at byte 4: unknown, or for data outside the file"
    );
    assert_eq!(
        error(b"NX\xff\xff\xff\xff"),
        "pickle opcode BINUNICODE at byte 1: 4294967295 bytes wanted, the data ends before"
    );
    assert_eq!(error(b"K\x01h\x07."), "pickle opcode BINGET at byte 2: nothing remembered as 7");
    assert_eq!(error(b"(K\x01"), "pickle opcode (none) at byte 3: 1 bytes wanted, the data ends before");
    assert!(error(b"\x80\x06.").contains("newer than 5"));
    assert!(error(b".").contains("STOP at byte 0"));
    assert!(error(b"K\x01(\x85.").contains("TUPLE1"), "a mark is a floor");
    assert!(error(b"}(Nu.").contains("without a value"));
    assert!(error(b"K\x01K\x02a.").contains("APPEND"));
    assert!(error(b"}Nb.").contains("no object"));
    assert!(error(b"t.").contains("no mark"));
    assert!(error(b"S'a\\n'\n.").contains("escaped"));
    assert!(error(b"\x97.").contains("outside the file"));
}

#[test]
fn depth_costs_nothing_and_length_is_limited() {
    let mut deep = vec![b'N'];
    deep.resize(1_000_001, 0x85);
    deep.push(b'.');
    assert_eq!(read(&deep).nodes().len(), 1_000_000);
    let long = vec![b'N'; MAX_OPCODES + 1];
    assert!(error(&long).contains("more than"));
}

#[test]
fn a_list_may_hold_itself() {
    let pickle = read(b"]q\x00h\x00a.");
    assert_eq!(pickle.items(pickle.root()).unwrap(), [pickle.root()]);
}
