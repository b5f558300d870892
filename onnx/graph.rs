//! A graph: inputs, given values, nodes in the order in which they were made, and outputs.

use std::borrow::Cow;
use std::collections::HashSet;

/// The name of a value, as one graph gave it out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub(crate) String);

/// The length of an axis of an input or output.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// Always this.
    Of(usize),
    /// Any length; axes of one name have the same.
    Any(&'static str),
}

/// A value that belongs to a node and not to the data.
pub enum Attribute<'a> {
    /// A whole number.
    Int(i64),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// The body of a node that runs a graph. It may read the values of the graph around it.
    Graph(Graph<'a>),
}

pub(crate) struct Port {
    pub name: Name,
    pub shape: Vec<Size>,
}

#[derive(PartialEq)]
pub(crate) enum Data<'a> {
    Floats(Cow<'a, [f32]>),
    Ints(Vec<i64>),
}

pub(crate) struct Given<'a> {
    pub name: Name,
    pub shape: Vec<usize>,
    pub data: Data<'a>,
    /// Whether it has a name of its own, and so stands for itself.
    named: bool,
}

pub(crate) struct Node<'a> {
    pub op: &'static str,
    pub inputs: Vec<Name>,
    pub outputs: Vec<Name>,
    pub attributes: Vec<(&'static str, Attribute<'a>)>,
}

/// A graph that is being built. All its floats are f32, and all its whole numbers i64.
pub struct Graph<'a> {
    pub(crate) name: String,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) given: Vec<Given<'a>>,
    pub(crate) nodes: Vec<Node<'a>>,
    /// What the names of values begin with: names are unique over a graph and all bodies in it.
    prefix: String,
    /// Number of names that were given out.
    names: usize,
}

impl<'a> Graph<'a> {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph {
            name: name.into(),
            inputs: vec![],
            outputs: vec![],
            given: vec![],
            nodes: vec![],
            prefix: String::new(),
            names: 0,
        }
    }

    /// An empty graph for the body of a node of this one.
    pub fn body(&mut self, name: &str) -> Graph<'a> {
        let Name(name) = self.name(name);
        Graph { prefix: format!("{name}/"), ..Graph::new(name) }
    }

    /// A new name that begins with `what`.
    fn name(&mut self, what: &str) -> Name {
        self.names += 1;
        Name(format!("{}{what}_{}", self.prefix, self.names))
    }

    /// An input of floats.
    ///
    /// # Panics
    /// Where the graph has a value of this name.
    pub fn input(&mut self, name: &str, shape: &[Size]) -> Name {
        let name = self.own(name);
        self.inputs.push(Port { name: name.clone(), shape: shape.to_vec() });
        name
    }

    /// Makes a value an output of this name.
    ///
    /// # Panics
    /// Where the graph has a value of this name.
    pub fn output(&mut self, name: &str, value: &Name, shape: &[Size]) {
        let name = self.own(name);
        self.nodes.push(Node {
            op: "Identity",
            inputs: vec![value.clone()],
            outputs: vec![name.clone()],
            attributes: vec![],
        });
        self.outputs.push(Port { name, shape: shape.to_vec() });
    }

    /// A name that the caller chooses.
    fn own(&self, name: &str) -> Name {
        let name = Name(self.prefix.clone() + name);
        let ports = self.inputs.iter().chain(&self.outputs).map(|port| &port.name);
        assert!(
            !ports.chain(self.given.iter().map(|given| &given.name)).any(|n| *n == name),
            "{name:?} twice"
        );
        name
    }

    /// Given floats with a name of their own, such as a parameter.
    ///
    /// # Panics
    /// Where the graph has a value of this name, and where the shape has another number of values.
    pub fn parameter(&mut self, name: &str, shape: &[usize], values: &'a [f32]) -> Name {
        let name = self.own(name);
        self.give(name, shape, Data::Floats(values.into()), true)
    }

    /// Given floats. The same ones again are the same value.
    ///
    /// # Panics
    /// Where the shape has another number of values.
    pub fn floats(&mut self, shape: &[usize], values: impl Into<Cow<'a, [f32]>>) -> Name {
        self.constant(shape, Data::Floats(values.into()))
    }

    /// Given whole numbers `[n]`. The same ones again are the same value.
    pub fn ints(&mut self, values: &[i64]) -> Name {
        self.constant(&[values.len()], Data::Ints(values.to_vec()))
    }

    /// A given whole number without an axis.
    pub fn int(&mut self, value: i64) -> Name {
        self.constant(&[], Data::Ints(vec![value]))
    }

    fn constant(&mut self, shape: &[usize], data: Data<'a>) -> Name {
        let same = |given: &&Given| !given.named && given.shape == shape && given.data == data;
        if let Some(known) = self.given.iter().find(same) {
            return known.name.clone();
        }
        let name = self.name("constant");
        self.give(name, shape, data, false)
    }

    fn give(&mut self, name: Name, shape: &[usize], data: Data<'a>, named: bool) -> Name {
        let values = match &data {
            Data::Floats(values) => values.len(),
            Data::Ints(values) => values.len(),
        };
        assert_eq!(values, shape.iter().product::<usize>(), "values of {name:?} for shape {shape:?}");
        self.given.push(Given { name: name.clone(), shape: shape.to_vec(), data, named });
        name
    }

    /// The output of a node of the operator `op`.
    pub fn node(
        &mut self,
        op: &'static str,
        inputs: &[&Name],
        attributes: Vec<(&'static str, Attribute<'a>)>,
    ) -> Name {
        let [output] = self.node_of(op, inputs, attributes);
        output
    }

    /// The `N` outputs of a node of the operator `op`.
    pub fn node_of<const N: usize>(
        &mut self,
        op: &'static str,
        inputs: &[&Name],
        attributes: Vec<(&'static str, Attribute<'a>)>,
    ) -> [Name; N] {
        let outputs: [Name; N] = std::array::from_fn(|_| self.name(op));
        let inputs = inputs.iter().map(|&input| input.clone()).collect();
        self.nodes.push(Node { op, inputs, outputs: outputs.to_vec(), attributes });
        outputs
    }

    /// Removes what no output needs.
    pub fn prune(&mut self) {
        let mut needed: HashSet<Name> = self.outputs.iter().map(|output| output.name.clone()).collect();
        let mut kept = vec![];
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.outputs.iter().any(|output| needed.contains(output)) {
                node.reads(&mut needed);
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
        self.given.retain(|given| needed.contains(&given.name));
    }
}

impl Node<'_> {
    /// Adds what the node and the bodies in it read.
    fn reads(&self, needed: &mut HashSet<Name>) {
        needed.extend(self.inputs.iter().cloned());
        for (_, attribute) in &self.attributes {
            if let Attribute::Graph(body) = attribute {
                body.nodes.iter().for_each(|node| node.reads(needed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_constants_are_one_and_what_nobody_needs_goes() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", &[Size::Any("N"), Size::Of(2)]);
        let (two, again) = (graph.floats(&[], vec![2.0]), graph.floats(&[], vec![2.0]));
        let other = graph.floats(&[1], vec![2.0]);
        assert!(two == again && two != other);
        let weight = graph.parameter("w", &[2], &[2.0, 3.0]);
        let read = graph.floats(&[2], vec![5.0, 7.0]);
        let unused = graph.add(&x, &other);
        graph.add(&unused, &weight);
        // A body's reading counts.
        let mut body = graph.body("loop");
        let state = body.input("state", &[Size::Any("N"), Size::Of(2)]);
        let next = body.add(&state, &read);
        body.output("next", &next, &[Size::Any("N"), Size::Of(2)]);
        let y = graph.node("Loop", &[&x, &two], vec![("body", Attribute::Graph(body))]);
        graph.output("y", &y, &[Size::Any("N"), Size::Of(2)]);
        graph.prune();
        let ops: Vec<_> = graph.nodes.iter().map(|node| node.op).collect();
        assert_eq!(ops, ["Loop", "Identity"]);
        let given: Vec<_> = graph.given.iter().map(|given| &given.name).collect();
        assert_eq!(given, [&two, &read]);
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_name_stands_for_one_value() {
        let mut graph = Graph::new("g");
        graph.parameter("w", &[1], &[0.0]);
        graph.parameter("w", &[1], &[0.0]);
    }
}
