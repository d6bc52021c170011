//! authkeysd.toml(5), from the comments of examples/config.toml: a key that stands there is in the page.

use clap_mangen::roff::{bold, italic, roman};

use crate::pages;

const EXAMPLE: &str = include_str!("../config.toml");

/// One key of the configuration, or several that share a text.
#[derive(Debug, Default)]
struct Setting {
    /// As they stand in the file: a key and its value.
    keys: Vec<(String, String)>,
    text: String,
    /// The text stood above the key, and may be meant for the keys below it too.
    shared: bool,
}

/// One table of the configuration.
#[derive(Debug)]
struct Section {
    /// `""` for the top of the file.
    name: String,
    text: String,
    settings: Vec<Setting>,
}

/// The page; `date` is the day of the build.
pub(crate) fn page(date: &str) -> Vec<u8> {
    let (about, sections) = read(EXAMPLE);
    let mut page = pages::title("authkeysd.toml", "5", "File formats", date);
    page.control("SH", ["NAME"]);
    page.text([roman("authkeysd.toml - what authkeysd keeps equal to which key set")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([italic("/etc/authkeysd/config.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(about)]);
    page.control("PP", []);
    page.text([roman(
        "The file is TOML. Unknown keys are errors; all faults are told at once, with line and key. The service reads it at its \
         start and at each reload.",
    )]);
    for section in &sections {
        let heading = if section.name.is_empty() { "AT THE TOP" } else { section.name.as_str() };
        page.control("SH", [heading]);
        if !section.text.is_empty() {
            page.text([roman(section.text.as_str())]);
        }
        for setting in &section.settings {
            for (at, (key, value)) in setting.keys.iter().enumerate() {
                page.control(if at == 0 { "TP" } else { "TQ" }, []);
                page.text([bold(key.as_str()), roman(" = "), italic(value.as_str())]);
            }
            page.text([roman(setting.text.as_str())]);
        }
    }
    page.control("SH", ["EXAMPLE"]);
    page.control("EX", []);
    page.text([roman("source = \"s3://acme-ssh-keys/prod/workers.json\"\n\n[[account]]\nuser = \"ubuntu\"")]);
    page.control("EE", []);
    pages::see_also(&mut page, &[("authkeysd", "8"), ("sshd_config", "5")]);
    page.render().into_bytes()
}

/// The comment that opens the file, and its tables in their order; a table that stands several times is one section.
fn read(example: &str) -> (String, Vec<Section>) {
    let mut sections = vec![Section { name: String::new(), text: String::new(), settings: Vec::new() }];
    let (mut comment, mut about, mut here, mut adjacent) = (Vec::new(), String::new(), 0, false);
    for line in example.lines().map(str::trim) {
        if line.is_empty() {
            // A comment that no key follows speaks of the whole.
            about.push_str(&std::mem::take(&mut comment).join(" "));
            adjacent = false;
        } else if let Some((key, value, trailing)) = setting(line) {
            let shared = trailing.is_none();
            let text: Vec<String> = std::mem::take(&mut comment).into_iter().chain(trailing).collect();
            let setting = Setting { keys: vec![(key, value)], text: text.join(" "), shared };
            add(&mut sections, here, setting, adjacent);
            adjacent = true;
        } else if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim().to_owned());
        } else {
            let text = std::mem::take(&mut comment).join(" ");
            let known = sections.iter().position(|section| section.name == line);
            here = known.unwrap_or_else(|| {
                sections.push(Section { name: line.to_owned(), text, settings: Vec::new() });
                sections.len() - 1
            });
            adjacent = false;
        }
    }
    (about, sections)
}

/// `key = value  # text`, also where the whole line is commented out because it cannot stand beside the others.
fn setting(line: &str) -> Option<(String, String, Option<String>)> {
    let (key, rest) = line.trim_start_matches(['#', ' ']).split_once('=')?;
    let key = key.trim();
    if key.is_empty() || !key.chars().all(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '_') {
        return None;
    }
    let (value, text) = match rest.split_once(" #") {
        Some((value, text)) => (value, Some(text.trim().to_owned())),
        None => (rest, None),
    };
    Some((key.to_owned(), value.trim().to_owned(), text))
}

fn add(sections: &mut [Section], here: usize, mut setting: Setting, adjacent: bool) {
    let Some((key, _)) = setting.keys.first() else { return };
    let at_the_top = here > 0 && sections.first().is_some_and(|top| top.settings.iter().any(|other| other.has(key)));
    let Some(section) = sections.get_mut(here) else { return };
    if let Some(other) = section.settings.iter_mut().find(|other| other.has(key)) {
        if other.text.is_empty() {
            other.text = setting.text;
        }
        return;
    }
    if setting.text.is_empty() && at_the_top {
        setting.text = "As at the top, for this account alone.".to_owned();
    }
    match section.settings.last_mut() {
        // Keys that follow each other without a word of their own share the comment above them.
        Some(before) if adjacent && before.shared && setting.text.is_empty() => before.keys.extend(setting.keys),
        _ => section.settings.push(setting),
    }
}

impl Setting {
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(own, _)| own == key)
    }
}
