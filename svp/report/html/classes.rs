//! The accuracy of every class, in a table that can be sorted.

use super::text::{escape, percent};
use crate::confusion::Confusion;

const HEADINGS: [&str; 5] = ["class", "images", "correct", "accuracy, %", "mostly taken for"];

/// A table with a row for every class; a class without images has no accuracy.
pub fn table(confusion: &Confusion, classes: &[String]) -> String {
    let heading = |name: &&str| format!("<th scope=\"col\"><button type=\"button\">{name}</button></th>");
    let headings: String = HEADINGS.iter().map(heading).collect();
    let row = |(class, name): (u32, &String)| {
        let (images, correct) = (confusion.images(class), confusion.count(class, class));
        let share = f64::from(correct) / f64::from(images);
        let accuracy = match images {
            0 => "<td data-value=\"-1\">-</td>".into(),
            _ => format!(
                "<td class=\"bar\" data-value=\"{share}\" style=\"--share:{share:.3}\">{}</td>",
                percent(share)
            ),
        };
        let (times, taken_for) = match confusion.mostly_taken_for(class) {
            Some((said, times)) => (times, format!("{} ({times})", escape(&classes[said as usize]))),
            None => (0, String::new()),
        };
        format!(
            "<tr><th scope=\"row\">{}</th><td data-value=\"{images}\">{images}</td>\
             <td data-value=\"{correct}\">{correct}</td>{accuracy}<td data-value=\"{times}\">{taken_for}</td></tr>\n",
            escape(name)
        )
    };
    let rows: String = (0..).zip(classes).map(row).collect();
    format!(
        "<div class=\"scroll tall\"><table class=\"numbers classes sortable\">\n<thead><tr>{headings}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}
