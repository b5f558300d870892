//! Which classes are taken for which, as a table or a picture.

use std::fmt::Write;

use image::{Rgba, RgbaImage};

use super::text::{escape, percent, png_address, shortened};
use crate::confusion::Confusion;

/// Most classes whose counts are shown as a table; more are shown as a picture.
const MOST_IN_TABLE: usize = 25;
/// Longest side of that picture, in pixels.
const SIDE: u32 = 1000;
/// Most pairs of classes in the list of confusions.
const MOST_PAIRS: usize = 15;
/// Colours of hits and mistakes, as in the style sheet.
const HIT: [u8; 3] = [37, 122, 196];
const MISS: [u8; 3] = [217, 95, 14];

/// The matrix and the pairs that are confused most.
pub fn matrix(confusion: &Confusion, classes: &[String]) -> String {
    let matrix =
        if classes.len() <= MOST_IN_TABLE { table(confusion, classes) } else { picture(confusion, classes) };
    format!("<div class=\"beside\">\n<div>{matrix}</div>\n<div>{}</div>\n</div>\n", pairs(confusion, classes))
}

fn table(confusion: &Confusion, classes: &[String]) -> String {
    let heading = |name: &String, scope| {
        let (full, short) = (escape(name), escape(&shortened(name, 18)));
        format!("<th scope=\"{scope}\" title=\"{full}\"><span>{short}</span></th>")
    };
    let columns: String = classes.iter().map(|name| heading(name, "col")).collect();
    let mut rows = String::new();
    for (truth, name) in (0..).zip(classes) {
        let images = confusion.images(truth).max(1);
        rows += "<tr>";
        rows += &heading(name, "row");
        for said in 0..classes.len() as u32 {
            let count = confusion.count(truth, said);
            let kind = if truth == said { "hit" } else { "miss" };
            let share = f64::from(count) / f64::from(images);
            match count {
                0 => rows += "<td></td>",
                _ => write!(rows, "<td class=\"{kind}\" style=\"--share:{share:.3}\">{count}</td>")
                    .expect("to a string"),
            }
        }
        rows += "</tr>\n";
    }
    format!(
        "<div class=\"scroll\"><table class=\"confusion\">\n<thead><tr><td></td>{columns}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// A picture with a pixel for each cell, the stronger the larger its share of the row. Cells that share a pixel show the
/// strongest. The square root makes single mistakes visible.
fn picture(confusion: &Confusion, classes: &[String]) -> String {
    let n = classes.len() as u32;
    let side = n.min(SIDE);
    let at = |class: u32| (u64::from(class) * u64::from(side) / u64::from(n)) as u32;
    let mut picture = RgbaImage::new(side, side);
    for (truth, said, count) in confusion.cells() {
        let share = f64::from(count) / f64::from(confusion.images(truth));
        let [r, g, b] = if truth == said { HIT } else { MISS };
        let strength = (255.0 * share.sqrt()).round() as u8;
        let pixel = picture.get_pixel_mut(at(said), at(truth));
        if strength > pixel.0[3] {
            *pixel = Rgba([r, g, b, strength]);
        }
    }
    format!(
        "<p class=\"note\">Classes 0 to {} in the order of the table below: hits blue, mistakes orange.</p>\n\
         <img class=\"matrix\" alt=\"confusion matrix of {n} classes\" src=\"{}\">\n",
        n - 1,
        png_address(picture)
    )
}

fn pairs(confusion: &Confusion, classes: &[String]) -> String {
    let mistakes = confusion.mistakes();
    if mistakes.is_empty() {
        return "<p>No mistakes.</p>\n".into();
    }
    let row = |&(truth, said, count): &(u32, u32, u32)| {
        let share = percent(f64::from(count) / f64::from(confusion.images(truth)));
        let [truth, said] = [truth, said].map(|class| escape(&classes[class as usize]));
        format!("<tr><td>{truth}</td><td>{said}</td><td>{count}</td><td>{share}&nbsp;%</td></tr>\n")
    };
    let rows: String = mistakes.iter().take(MOST_PAIRS).map(row).collect();
    format!(
        "<h3>Confused most</h3>\n<div class=\"scroll\"><table class=\"numbers pairs\">\n<thead><tr>\
         <th>true class</th><th>taken for</th><th>images</th><th>of the class</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}
