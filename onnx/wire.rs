//! The wire format of protocol buffers, as far as ONNX needs it.

/// A message that is being written, field by field.
#[derive(Default)]
pub(crate) struct Message(pub Vec<u8>);

/// How a field lies in the message.
const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A whole number; negative ones take ten bytes.
    pub fn int(&mut self, field: u64, value: i64) {
        self.varint(field << 3 | VARINT);
        self.varint(value as u64);
    }

    pub fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub fn text(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// A message in the message.
    pub fn nested(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }
}
