//! Writes archives, `.mat` files and pickles for tests, as plainly as their formats allow.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The paths and contents of files that a test writes.
pub type Written = Vec<(String, Vec<u8>)>;

/// A picture of two pixels.
pub const PNM: &[u8] = b"P6 2 1 255\nabcdef";

/// Files with these names and texts. Those with the name of an image and without a text get a picture.
pub fn files(files: &[(&str, &str)]) -> Written {
    let content = |name: &str, text: &str| match crate::decode::is_image_name(Path::new(name)) {
        true if text.is_empty() => PNM.to_vec(),
        _ => text.as_bytes().to_vec(),
    };
    files.iter().map(|(name, text)| (name.to_string(), content(name, text))).collect()
}

/// The same files in a folder.
pub fn inside(folder: &str, files: &Written) -> Written {
    files.iter().map(|(name, bytes)| (format!("{folder}/{name}"), bytes.clone())).collect()
}

/// Writes the files below a folder.
pub fn write(folder: &Path, files: &Written) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A member of a tar archive: its header and its content, in whole blocks.
pub fn tar_member(name: &str, kind: u8, link: &str, bytes: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    let mut member = block.to_vec();
    member.extend(bytes);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

/// Writes the checksum of a tar header.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

pub fn tar(files: &Written) -> Vec<u8> {
    let mut tar: Vec<u8> = files.iter().flat_map(|(name, bytes)| tar_member(name, b'0', "", bytes)).collect();
    tar.resize(tar.len() + 1024, 0);
    tar
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = vec![0x1F, 0x8B, 8, 8, 0, 0, 0, 0, 0, 3];
    gzip.extend(b"name.tar\0");
    gzip.extend(compress_to_vec(bytes, 6));
    gzip.extend(crc32fast::hash(bytes).to_le_bytes());
    gzip.extend((bytes.len() as u32).to_le_bytes());
    gzip
}

pub fn zip(files: &Written) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (i, (name, bytes)) in files.iter().enumerate() {
        let method = [CompressionMethod::Stored, CompressionMethod::Deflated][i % 2];
        zip.start_file(name.as_str(), SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A level-5 file of these variables.
pub fn mat(variables: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"MATLAB 5.0 MAT-file".to_vec();
    file.resize(124, b' ');
    file.extend([0, 1, b'I', b'M']);
    file.extend(variables.concat());
    file
}

pub fn element(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let mut element = kind.to_le_bytes().to_vec();
    element.extend((bytes.len() as u32).to_le_bytes());
    element.extend(bytes);
    element.resize(element.len().next_multiple_of(8), 0);
    element
}

/// An element in the form for up to four bytes.
pub fn small_element(kind: u32, bytes: &[u8]) -> Vec<u8> {
    let mut element = (kind | (bytes.len() as u32) << 16).to_le_bytes().to_vec();
    element.extend(bytes);
    element.resize(8, 0);
    element
}

pub fn compressed(element: &[u8]) -> Vec<u8> {
    let packed = compress_to_vec_zlib(element, 6);
    let mut element = 15u32.to_le_bytes().to_vec();
    element.extend((packed.len() as u32).to_le_bytes());
    element.extend(packed);
    element
}

pub fn matrix(class: u8, dims: &[usize], name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| (dim as u32).to_le_bytes()).collect();
    let mut content = element(6, &[class, 0, 0, 0, 0, 0, 0, 0]);
    content.extend(element(5, &dims));
    content.extend(if name.len() <= 4 {
        small_element(1, name.as_bytes())
    } else {
        element(1, name.as_bytes())
    });
    content.extend(parts.concat());
    element(14, &content)
}

pub fn doubles(name: &str, values: &[f64]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    matrix(6, &[values.len(), 1], name, &[element(9, &bytes)])
}

/// Doubles that are stored as bytes, as MATLAB does where that is enough.
pub fn packed_doubles(name: &str, values: &[u8]) -> Vec<u8> {
    let values_of = if values.len() <= 4 { small_element(2, values) } else { element(2, values) };
    matrix(6, &[1, values.len()], name, &[values_of])
}

pub fn text(name: &str, text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    matrix(4, &[1, text.len()], name, &[element(4, &units)])
}

pub fn texts(name: &str, values: &[&str]) -> Vec<u8> {
    let cells: Vec<Vec<u8>> = values.iter().map(|value| text("", value)).collect();
    matrix(1, &[values.len(), 1], name, &cells)
}

/// Structs with these fields, whose values are matrices.
pub fn structs(name: &str, fields: &[&str], rows: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut names = Vec::new();
    for field in fields {
        names.extend(field.as_bytes());
        names.resize(names.len().next_multiple_of(32), 0);
    }
    let mut parts = vec![small_element(5, &32u32.to_le_bytes()), element(1, &names)];
    parts.extend(rows.iter().flatten().cloned());
    matrix(2, &[1, rows.len()], name, &parts)
}

/// A CIFAR pickle as Python 2 wrote it, which is a dict of an array `data` and a list of labels.
pub fn cifar_pickle(key: &str, labels: &[u8], pixels: &[u8]) -> Vec<u8> {
    let string = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let number = |n: usize| [&[b'J'][..], &(n as u32).to_le_bytes()].concat();
    let mut pickle = b"\x80\x02}q\x01(".to_vec();
    pickle.extend(string("data"));
    pickle.extend(
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x05(K\x01",
    );
    pickle.extend([number(labels.len()), number(3072), b"\x86".to_vec()].concat());
    pickle.extend(b"cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    pickle.extend((pixels.len() as u32).to_le_bytes());
    pickle.extend(pixels);
    pickle.extend(b"tb");
    pickle.extend(string(key));
    pickle.extend(b"](");
    pickle.extend(labels.iter().flat_map(|&label| [b'K', label]));
    pickle.extend(b"eu.");
    pickle
}

/// A pickled dict of one list of texts.
pub fn names_pickle(key: &str, names: &[String]) -> Vec<u8> {
    let string = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let mut pickle = b"\x80\x02}".to_vec();
    pickle.extend(string(key));
    pickle.extend(b"](");
    pickle.extend(names.iter().flat_map(|name| string(name)));
    pickle.extend(b"es.");
    pickle
}
