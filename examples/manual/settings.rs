//! authkeysd.toml(5), made from docs/configure.md.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::pages;

const GUIDE: &str = include_str!("../../docs/configure.md");

/// The page; `date` is the day of the build.
pub(crate) fn page(date: &str) -> Vec<u8> {
    let mut page = pages::title("authkeysd.toml", "5", "File formats", date);
    page.control("SH", ["NAME"]);
    page.text([roman(
        "authkeysd.toml - what authkeysd keeps equal to which key set",
    )]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([italic("/etc/authkeysd/config.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    // The heading is the page's name.
    let mut lines = GUIDE.lines().skip(1);
    let (mut paragraph, mut after_heading) = (Vec::new(), true);
    while let Some(line) = lines.next() {
        let text = line.trim();
        if !text.is_empty() && !text.starts_with(['#', '|', '`'])
            || (text.starts_with('`') && !text.starts_with("```"))
        {
            paragraph.push(text);
            continue;
        }
        if !paragraph.is_empty() {
            if !after_heading {
                page.control("PP", []);
            }
            page.text(inline(&std::mem::take(&mut paragraph).join(" ")));
            after_heading = false;
        }
        if let Some(heading) = text.strip_prefix("## ") {
            page.control("SH", [heading.replace('`', "").as_str()]);
            after_heading = true;
        } else if text.starts_with("```") {
            let code: Vec<&str> = lines
                .by_ref()
                .take_while(|line| !line.starts_with("```"))
                .collect();
            page.control("PP", []);
            page.control("EX", []);
            page.text([roman(code.join("\n"))]);
            page.control("EE", []);
        } else if text.starts_with('|') {
            row(&mut page, text);
        }
    }
    pages::see_also(&mut page, &[("authkeysd", "8"), ("sshd_config", "5")]);
    page.render().into_bytes()
}

/// A row of a table: of a key, or of a form of URL. The table's head says nothing here.
fn row(page: &mut Roff, line: &str) {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    match cells.as_slice() {
        [setting, takes, default, means] => {
            let Some((key, value)) = setting.trim_matches('`').split_once(" = ") else {
                return;
            };
            page.control("TP", []);
            page.text([bold(key), roman(" = "), italic(value)]);
            let (first, rest) = means.split_at(means.chars().next().map_or(0, char::len_utf8));
            page.text(inline(&format!("{}{rest}.", first.to_uppercase())));
            page.control("IP", []);
            page.text(inline(&format!("Takes {takes}. Default: {default}.")));
        }
        [term, means] if term.starts_with('`') => {
            page.control("TP", []);
            page.text(inline(term));
            page.text(inline(&format!("is {means}.")));
        }
        _ => {}
    }
}

/// Code becomes bold, a link its text.
fn inline(text: &str) -> Vec<Inline> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let (name, end) = (before.rsplit_once('['), after.split_once(')'));
        let (Some((before, name)), Some((_, after))) = (name, end) else {
            break;
        };
        plain.extend([before, name]);
        rest = after;
    }
    plain.push_str(rest);
    let pieces = plain
        .split('`')
        .enumerate()
        .filter(|(_, piece)| !piece.is_empty());
    pieces
        .map(|(at, piece)| {
            if at % 2 == 1 {
                bold(piece)
            } else {
                roman(piece)
            }
        })
        .collect()
}
