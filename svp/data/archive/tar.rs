//! The members of a tar archive (POSIX ustar and pax, GNU long names).

use std::collections::HashMap;

use super::{Member, Packing, clean};

/// Most bytes of a long name or of a pax header.
const MAX_EXTENSION: u64 = 1 << 20;
/// Most members.
const MAX_MEMBERS: usize = 1 << 24;
const BLOCK: usize = 512;

type Result<T> = std::result::Result<T, String>;

/// What a tar archive is read from, once and forwards.
pub(super) trait Stream {
    /// Fills the buffer; fewer bytes only at the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize>;
    /// Passes over bytes; fewer only at the end.
    fn skip(&mut self, count: u64) -> Result<u64>;
    fn position(&self) -> u64;
}

/// A stream that lies in memory.
pub(super) struct Plain<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl Stream for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let rest = &self.bytes[self.at..];
        let count = buffer.len().min(rest.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let count = count.min((self.bytes.len() - self.at) as u64);
        self.at += count as usize;
        Ok(count)
    }

    fn position(&self) -> u64 {
        self.at as u64
    }
}

/// True if the bytes begin with the header of a member, or end an archive without any.
pub(super) fn is_tar(bytes: &[u8]) -> bool {
    bytes.first_chunk::<BLOCK>().is_some_and(|block| Header(block).is_sound() || is_end(block))
}

fn is_end(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// What the headers before a member say about it.
#[derive(Default)]
struct Extra {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

/// Lists the regular files. Hard links count as what they lead to; symbolic links and devices are passed over.
pub(super) fn index(stream: &mut impl Stream) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut links = Vec::new();
    let mut extra = Extra::default();
    loop {
        let mut block = [0; BLOCK];
        let at = stream.position();
        if stream.read(&mut block)? < BLOCK {
            return Err("it is truncated: the end mark is missing".into());
        }
        if is_end(&block) {
            break;
        }
        let header = Header(&block);
        if !header.is_sound() {
            return Err(format!("byte {at} holds no tar header: it is damaged"));
        }
        let size = header.size().ok_or_else(|| format!("the member at byte {at} has no valid size"))?;
        let kind = header.kind();
        if matches!(kind, b'L' | b'K' | b'x') {
            extra.read(kind, &extension(stream, size)?)?;
            continue;
        }
        let Extra { name, link, size: long_size } = std::mem::take(&mut extra);
        let (name, size) = (name.unwrap_or_else(|| header.name()), long_size.unwrap_or(size));
        let start = stream.position();
        match kind {
            b'0' | 0 | b'7' if !name.ends_with('/') => {
                pass(stream, size)?;
                if let Some(name) = clean(&name) {
                    members.push(Member { name, start, size, packing: Packing::Plain });
                }
            }
            // Links and folders have no content, whatever the size field says.
            b'1' => links.extend(clean(&name).zip(clean(&link.unwrap_or_else(|| header.link())))),
            b'2'..=b'6' => {}
            _ => pass(stream, size)?,
        }
        if members.len() + links.len() > MAX_MEMBERS {
            return Err(format!("it has more than {MAX_MEMBERS} members"));
        }
    }
    follow(&mut members, links);
    Ok(members)
}

/// Adds the hard links, each to a file before it.
fn follow(members: &mut Vec<Member>, links: Vec<(Box<str>, Box<str>)>) {
    if links.is_empty() {
        return;
    }
    let mut by_name: HashMap<Box<str>, (u64, u64)> =
        members.iter().map(|member| (member.name.clone(), (member.start, member.size))).collect();
    for (name, target) in links {
        if let Some(&(start, size)) = by_name.get(&target) {
            by_name.insert(name.clone(), (start, size));
            members.push(Member { name, start, size, packing: Packing::Plain });
        }
    }
}

/// Passes over the content of a member, which fills whole blocks.
fn pass(stream: &mut impl Stream, size: u64) -> Result<()> {
    let whole = size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX);
    // The last block may be cut off behind the content.
    if stream.skip(whole)? < size { Err("it is truncated".into()) } else { Ok(()) }
}

/// The content of a header that says more about the next member.
fn extension(stream: &mut impl Stream, size: u64) -> Result<Vec<u8>> {
    if size > MAX_EXTENSION {
        return Err(format!("a name or header has {size} bytes, the limit is {MAX_EXTENSION}"));
    }
    let mut bytes = vec![0; (size as usize).next_multiple_of(BLOCK)];
    if stream.read(&mut bytes)? < bytes.len() {
        return Err("it is truncated".into());
    }
    bytes.truncate(size as usize);
    Ok(bytes)
}

impl Extra {
    fn read(&mut self, kind: u8, bytes: &[u8]) -> Result<()> {
        match kind {
            b'L' => self.name = Some(text(bytes)),
            b'K' => self.link = Some(text(bytes)),
            _ => return self.pax(bytes).ok_or_else(|| "a pax header is damaged".into()),
        }
        Ok(())
    }

    /// Records `LENGTH KEY=VALUE\n`, where the length counts the whole record.
    fn pax(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
            let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
            let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let value = String::from_utf8_lossy(&record[equals + 1..]);
            match &record[..equals] {
                b"path" => self.name = Some(value.into()),
                b"linkpath" => self.link = Some(value.into()),
                b"size" => self.size = Some(value.parse().ok()?),
                _ => {}
            }
            bytes = &bytes[length..];
        }
        Some(())
    }
}

/// Text up to the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into()
}

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    /// The checksum counts its own field as spaces.
    fn is_sound(&self) -> bool {
        let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        let want = sum(&self.0[..148]) + 8 * u64::from(b' ') + sum(&self.0[156..]);
        octal(&self.0[148..156]) == Some(want)
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Octal, or big-endian binary behind a set high bit.
    fn size(&self) -> Option<u64> {
        let field = &self.0[124..136];
        match field[0] {
            0x80 if field[1..4] == [0; 3] => field[4..].try_into().ok().map(u64::from_be_bytes),
            0x80.. => None,
            _ => octal(field),
        }
    }

    /// POSIX keeps the front of a long name apart; in GNU's format that place holds other things.
    fn name(&self) -> String {
        let (name, prefix) = (text(&self.0[..100]), text(&self.0[345..500]));
        match &self.0[257..263] {
            b"ustar\0" if !prefix.is_empty() => format!("{prefix}/{name}"),
            _ => name,
        }
    }

    fn link(&self) -> String {
        text(&self.0[157..257])
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}
