//! The members of a tar archive. The `tar` crate reads the headers (ustar, pax, GNU); the members are read in place.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

use super::member::{Listing, Member, Packing};
use crate::error::Parsed;

/// The most bytes that the headers of one member may have, long names and pax records included.
const MAX_HEADERS: u64 = 1 << 20;
/// The most members.
const MAX_MEMBERS: usize = 1 << 24;
const BLOCK: usize = 512;

/// True if the bytes begin with the header of a member, or with the end of an archive without any.
pub(super) fn is_tar(bytes: &[u8]) -> bool {
    let Some(block) = bytes.first_chunk::<BLOCK>() else { return false };
    let mut archive = tar::Archive::new(&block[..]);
    archive.entries().is_ok_and(|entries| !matches!(entries.raw(true).next(), Some(Err(_))))
}

/// Lists the regular files of a stream that stands at its start. Hard links count as what they lead to; folders,
/// symbolic links, devices and sparse files are passed over. Where the stream has a known `length`, members that reach
/// beyond it are found at once.
///
/// # Errors
/// A damaged header, a stream that ends before the end mark of the archive, and whatever the stream reports.
pub(super) fn index(stream: impl Read + Seek, length: Option<u64>) -> Parsed<Listing> {
    let watch = Watch::default();
    let mut archive = tar::Archive::new(Watched { stream, watch: &watch });
    let entries = archive.entries_with_seek().map_err(|e| e.to_string())?;
    let mut listing = Listing::default();
    let mut links = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| watch.explain(&e))?;
        watch.headers.set(0);
        let (kind, start, size) = (entry.header().entry_type(), entry.raw_file_position(), entry.size());
        if length.is_some_and(|length| start.checked_add(size).is_none_or(|end| end > length)) {
            return Err("it is truncated".into());
        }
        let name = text(&entry.path_bytes());
        listing.count(&name)?;
        if (kind.is_file() || kind.is_contiguous()) && !name.ends_with('/') {
            let member = |name| Member { name, start, size, packing: Packing::Plain };
            let member = listing.name(&name).map(member);
            listing.members.extend(member);
        } else if kind.is_hard_link() {
            let target = entry.link_name_bytes().and_then(|target| Listing::default().name(&text(&target)));
            target.iter().try_for_each(|target| listing.count(target))?;
            links.extend(listing.name(&name).zip(target));
        }
        if listing.members.len() + listing.passed_over.len() + links.len() > MAX_MEMBERS {
            return Err(format!("it has more than {MAX_MEMBERS} members"));
        }
    }
    if watch.ended.get() {
        return Err(truncated());
    }
    follow(&mut listing.members, links);
    Ok(listing)
}

/// Adds the hard links, each of which leads to a file or link before it.
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

fn truncated() -> String {
    "it is truncated: the end mark is missing".into()
}

/// Text up to the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into()
}

/// What happened to a stream while the headers were read from it.
#[derive(Default)]
struct Watch {
    /// Position of the last read.
    at: Cell<u64>,
    /// Bytes that were read for the headers of the member at hand.
    headers: Cell<u64>,
    /// Whether a read found the end of the stream.
    ended: Cell<bool>,
    /// What the stream itself reported.
    failure: RefCell<Option<String>>,
}

impl Watch {
    /// What is wrong with an archive whose next header gave this error.
    fn explain(&self, error: &io::Error) -> String {
        match self.failure.take() {
            Some(failure) => failure,
            None if self.ended.get() => truncated(),
            None => format!("byte {} holds no tar header: it is damaged ({error})", self.at.get()),
        }
    }
}

/// A stream under watch. Contents are passed over by seeking, so that only headers are read.
struct Watched<'a, S> {
    stream: S,
    watch: &'a Watch,
}

impl<S: Read + Seek> Read for Watched<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let watch = self.watch;
        let read = self.stream.stream_position().and_then(|at| {
            watch.at.set(at);
            self.stream.read(buffer)
        });
        let count = read.inspect_err(|e| _ = watch.failure.replace(Some(e.to_string())))?;
        watch.ended.set(watch.ended.get() || count == 0 && !buffer.is_empty());
        watch.headers.set(watch.headers.get() + count as u64);
        if watch.headers.get() > MAX_HEADERS {
            let what = format!("a name or header is too long: the limit is {MAX_HEADERS} bytes");
            watch.failure.replace(Some(what.clone()));
            return Err(io::Error::other(what));
        }
        Ok(count)
    }
}

impl<S: Seek> Seek for Watched<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.stream.seek(to).inspect_err(|e| _ = self.watch.failure.replace(Some(e.to_string())))
    }
}
