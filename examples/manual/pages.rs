//! The man pages: options and commands from the table of the command line, the rest from here.

use std::io::{self, Write as _};

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::settings;

/// A term and its explanation.
type Row = (&'static str, &'static str);

const ENVIRONMENT: &[Row] = &[
    (
        "AUTHKEYSD_CONFIG",
        "The configuration file, unless --config names one.",
    ),
    (
        "STATE_DIRECTORY, RUNTIME_DIRECTORY",
        "Set by systemd: where state and status are written, unless the configuration names a \
         directory.",
    ),
    (
        "AWS_REGION, HTTPS_PROXY and the like",
        "For the service, set them in /etc/default/authkeysd or /etc/sysconfig/authkeysd.",
    ),
];

const OF_BOTH: &[Row] = &[
    (
        "AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL and so on",
        "Credentials, region and endpoints, as in the AWS CLI.",
    ),
    (
        "NO_COLOR",
        "If set, output has no colour. It has none outside a terminal anyway.",
    ),
];

const FILES: &[Row] = &[
    (
        "/etc/authkeysd/config.toml",
        "The configuration; see authkeysd.toml(5). Without it the service does not start.",
    ),
    (
        "/etc/default/authkeysd, /etc/sysconfig/authkeysd",
        "Variables for the service, on Debian and on rpm systems.",
    ),
    (
        "~/.ssh/authorized_keys, /etc/ssh/authorized_keys.d/USER",
        "The files that are written, depending on the layout of the account.",
    ),
    (
        "/var/lib/authkeysd",
        "The last good documents, the highest serials, every key once installed.",
    ),
    ("/run/authkeysd/status.json", "What the last cycle did."),
];

const SIGNALS: &[Row] = &[
    (
        "SIGHUP",
        "Read the configuration again and run a cycle. An invalid one is reported, and the old one \
         stays in effect.",
    ),
    (
        "SIGUSR1",
        "Fetch now, without reading the configuration again.",
    ),
    (
        "SIGTERM, SIGINT",
        "Finish the current write and end within two seconds.",
    ),
];

/// Every page by its file name; `date` is the day of the build.
pub(crate) fn all(date: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let node = program(
        authkeysd::command::table(),
        "8",
        "System administration",
        date,
        |roff| {
            rows(roff, "ENVIRONMENT", &[ENVIRONMENT, OF_BOTH].concat());
            rows(roff, "FILES", FILES);
            rows(roff, "SIGNALS TO THE SERVICE", SIGNALS);
            see_also(
                roff,
                &[
                    ("authkeysd.toml", "5"),
                    ("authkeysctl", "1"),
                    ("sshd_config", "5"),
                    ("journalctl", "1"),
                ],
            );
        },
    )?;
    let operator = program(authkeysctl::table(), "1", "User commands", date, |roff| {
        rows(roff, "ENVIRONMENT", OF_BOTH);
        see_also(roff, &[("authkeysd", "8"), ("ssh-keygen", "1")]);
    })?;
    Ok(vec![
        ("authkeysd.8".to_owned(), node),
        ("authkeysctl.1".to_owned(), operator),
        ("authkeysd.toml.5".to_owned(), settings::page(date)),
    ])
}

/// The first lines of a page.
pub(crate) fn title(name: &str, section: &str, manual: &str, date: &str) -> Roff {
    let mut roff = Roff::new();
    let source = concat!("authkeysd ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [name, section, date, source, manual]);
    roff
}

pub(crate) fn see_also(roff: &mut Roff, pages: &[Row]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for (at, (page, section)) in pages.iter().enumerate() {
        let end = if at + 1 == pages.len() { "" } else { ", " };
        line.extend([bold(*page), roman(format!("({section}){end}"))]);
    }
    roff.text(line);
}

fn rows(roff: &mut Roff, heading: &str, rows: &[Row]) {
    roff.control("SH", [heading]);
    for (term, text) in rows {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*text)]);
    }
}

fn program(
    mut table: Command,
    section: &str,
    manual: &str,
    date: &str,
    rest: impl FnOnce(&mut Roff),
) -> io::Result<Vec<u8>> {
    table.build();
    let name = table.get_name().to_owned();
    let about = table
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut page = title(&name, section, manual, date);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{name} - {about}"))]);
    page.control("SH", ["SYNOPSIS"]);
    let commands: Vec<Command> = table
        .get_subcommands()
        .filter(|c| c.get_name() != "help")
        .cloned()
        .collect();
    for (at, command) in commands.iter().enumerate() {
        if at > 0 {
            page.control("br", []);
        }
        usage(&mut page, &name, command);
    }
    page.control("SH", ["OPTIONS"]);
    let mut text = page.render().into_bytes();
    options(&table, &mut text)?;
    text.write_all(b".SH COMMANDS\n")?;
    for command in commands {
        let mut heading = Roff::new();
        heading.control("SS", [format!("{name} {}", command.get_name()).as_str()]);
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let end = if about.ends_with(['.', '?']) { "" } else { "." };
        heading.text([roman(format!("{about}{end}"))]);
        text.extend(heading.to_roff().into_bytes());
        // Options of all commands are listed once, above.
        let own = command.mut_args(|arg| {
            let shared =
                arg.is_global_set() || ["help", "version"].contains(&arg.get_id().as_str());
            arg.hide(shared)
        });
        options(&own, &mut text)?;
    }
    let mut end = Roff::new();
    exit_status(&mut end, &table);
    rest(&mut end);
    text.extend(end.to_roff().into_bytes());
    Ok(text)
}

/// One line of the synopsis: every argument of a command.
fn usage(page: &mut Roff, program: &str, command: &Command) {
    let mut line = vec![bold(program), roman(" "), bold(command.get_name())];
    for arg in command.get_arguments() {
        if arg.is_hide_set()
            || arg.is_global_set()
            || ["help", "version"].contains(&arg.get_id().as_str())
        {
            continue;
        }
        let value = arg
            .get_value_names()
            .and_then(|names| names.first())
            .map(ToString::to_string);
        let takes = arg.get_action().takes_values();
        line.push(roman(if arg.is_required_set() { " " } else { " [" }));
        if let Some(long) = arg.get_long() {
            line.push(bold(format!("--{long}")));
            line.extend(takes.then(|| roman(" ")));
        }
        line.extend(takes.then(|| italic(value.unwrap_or_else(|| arg.get_id().to_string()))));
        line.extend((!arg.is_required_set()).then(|| roman("]")));
        if matches!(
            arg.get_action(),
            clap::ArgAction::Append | clap::ArgAction::Count
        ) {
            line.push(roman("..."));
        }
    }
    page.text(line);
}

/// The options of one command, without a heading of their own.
fn options(command: &Command, text: &mut Vec<u8>) -> io::Result<()> {
    if command.get_arguments().all(|arg| arg.is_hide_set()) {
        return Ok(());
    }
    let mut section = Vec::new();
    Man::new(command.clone()).render_options_section(&mut section)?;
    let section = String::from_utf8_lossy(&section).into_owned();
    let (_, options) = section
        .split_once(".SH OPTIONS\n")
        .unwrap_or(("", &section));
    text.write_all(options.as_bytes())
}

/// The table of exit codes that closes the help, as a section.
fn exit_status(page: &mut Roff, table: &Command) {
    page.control("SH", ["EXIT STATUS"]);
    let help = table
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    for line in help.lines().skip(1) {
        match line.trim_start().split_once("  ") {
            Some((code, meaning)) if code.parse::<u8>().is_ok() => {
                page.control("TP", []);
                page.text([bold(code)]);
                page.text([roman(meaning)]);
            }
            _ => {
                page.control("PP", []);
                page.text([roman(line)]);
            }
        }
    }
}
