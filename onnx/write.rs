//! The bytes of a model: the messages of `onnx.proto`, with their field numbers.

use crate::graph::{Attribute, Data, Given, Graph, Node, Port, Size};
use crate::wire::Message;

/// The version of the set of operators.
pub const OPSET: i64 = 17;
/// The version of the format that came with it.
const IR_VERSION: i64 = 8;

/// The most bytes of a protocol buffer; readers refuse more.
pub const LIMIT: usize = i32::MAX as usize;

/// `TensorProto.DataType`
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// A graph with what the file says about it.
pub struct Model<'a> {
    /// The graph.
    pub graph: &'a Graph<'a>,
    /// The program that made it, and its version.
    pub producer: [&'a str; 2],
    /// Facts for people and programs: names and values.
    pub metadata: &'a [(&'a str, String)],
}

impl Model<'_> {
    /// The file. Readers refuse more than [`LIMIT`] bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut model = Message::default();
        model.int(1, IR_VERSION);
        model.text(2, self.producer[0]);
        model.text(3, self.producer[1]);
        model.nested(7, |to| write_graph(to, self.graph));
        model.nested(8, |set| set.int(2, OPSET));
        for (name, value) in self.metadata {
            model.nested(14, |entry| {
                entry.text(1, name);
                entry.text(2, value);
            });
        }
        model.0
    }
}

fn write_graph(to: &mut Message, graph: &Graph) {
    for (i, node) in graph.nodes.iter().enumerate() {
        to.nested(1, |to| write_node(to, node, i));
    }
    to.text(2, &graph.name);
    for given in &graph.given {
        to.nested(5, |to| write_tensor(to, given));
    }
    for (field, ports) in [(11, &graph.inputs), (12, &graph.outputs)] {
        for port in ports {
            to.nested(field, |to| write_port(to, port));
        }
    }
}

fn write_node(to: &mut Message, node: &Node, number: usize) {
    node.inputs.iter().for_each(|input| to.text(1, &input.0));
    node.outputs.iter().for_each(|output| to.text(2, &output.0));
    to.text(3, &format!("{}_{number}", node.op));
    to.text(4, node.op);
    for (name, attribute) in &node.attributes {
        to.nested(5, |to| {
            to.text(1, name);
            let kind = match attribute {
                Attribute::Int(value) => {
                    to.int(3, *value);
                    2
                }
                Attribute::Ints(values) => {
                    values.iter().for_each(|&value| to.int(8, value));
                    7
                }
                Attribute::Graph(body) => {
                    to.nested(6, |to| write_graph(to, body));
                    5
                }
            };
            to.int(20, kind);
        });
    }
}

fn write_tensor(to: &mut Message, given: &Given) {
    given.shape.iter().for_each(|&length| to.int(1, length as i64));
    let (kind, bytes): (i64, Vec<u8>) = match &given.data {
        Data::Floats(values) => (FLOAT, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Data::Ints(values) => (INT64, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
    };
    to.int(2, kind);
    to.text(8, &given.name.0);
    to.bytes(9, &bytes);
}

fn write_port(to: &mut Message, port: &Port) {
    to.text(1, &port.name.0);
    to.nested(2, |kind| {
        kind.nested(1, |tensor| {
            tensor.int(1, FLOAT);
            tensor.nested(2, |shape| {
                for size in &port.shape {
                    shape.nested(1, |axis| match size {
                        Size::Of(length) => axis.int(1, *length as i64),
                        Size::Any(name) => axis.text(2, name),
                    });
                }
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that the Python package `onnx` 1.23 writes for the same model.
    #[test]
    fn a_small_model_has_the_bytes_of_the_format() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", &[Size::Any("N"), Size::Of(300)]);
        let y = graph.node("Foo", &[&x], vec![("axes", Attribute::Ints(vec![-1])), ("k", Attribute::Int(5))]);
        graph.output("y", &y, &[Size::Any("N")]);
        graph.parameter("w", &[2], &[1.0, -2.0]);
        let model = Model { graph: &graph, producer: ["p", "1"], metadata: &[("a", "b".into())] };
        let hex: String = model.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let want = "08081201701a01313a99010a360a01781205466f6f5f311a05466f6f5f302203466f6f2a140a046178657340ffffffffffff\
             ffffff01a001072a080a016b1805a001020a200a05466f6f5f311201791a0a4964656e746974795f3122084964656e746974\
             791201672a11080210014201774a080000803f000000c05a150a017812100a0e0801120a0a0312014e0a0308ac0262100a01\
             79120b0a09080112050a0312014e4202101172060a0161120162";
        assert_eq!(hex, want);
    }
}
