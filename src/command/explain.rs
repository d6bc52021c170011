//! `authkeysd explain`: prints what the code of a message means, and what to do.

use std::fmt::Write as _;

use super::{Exit, Explain, print};
use authkeys_core::fault::{FaultClass, FaultCode};

/// Parses a code the way people type it.
pub(super) fn code(text: &str) -> Result<FaultCode, String> {
    let bare = text.trim_matches(['[', ']']).to_ascii_uppercase();
    FaultCode::parse(&bare)
        .ok_or_else(|| "no such code; `authkeysd explain --list` lists them".to_owned())
}

/// Runs the command.
pub(super) fn run(options: &Explain) -> Exit {
    let text = match options.code {
        Some(code) => explained(code),
        None => FaultCode::all().map(listed).collect(),
    };
    if print(&text) {
        Exit::Good
    } else {
        Exit::Failed
    }
}

fn listed(code: FaultCode) -> String {
    let row = code.explanation();
    format!("{code}  {:<26} {}\n", row.name, row.meaning)
}

fn explained(code: FaultCode) -> String {
    let row = code.explanation();
    let kind = match row.class {
        FaultClass::Failed => "something failed or was refused",
        FaultClass::Unreachable => "the source could not be reached",
        FaultClass::Denied => "not permitted",
        FaultClass::Config => "configuration",
    };
    let mut text = format!("{code} {}\n\n", row.name);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "What it means:  {}", row.meaning);
    let _ = writeln!(text, "What to do:     {}", row.remedy);
    let _ = writeln!(
        text,
        "Exit status:    {} ({kind})",
        Exit::from(row.class) as u8
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_taken_as_people_copy_it() {
        for text in ["AK010", "ak010", "[AK010]"] {
            assert_eq!(code(text), Ok(FaultCode::SourceDenied), "{text}");
        }
        assert!(code("AK999").is_err_and(|fault| fault.contains("--list")));
    }

    #[test]
    fn an_explanation_names_the_code_the_remedy_and_the_exit_status() {
        let text = explained(FaultCode::SourceDenied);
        assert!(text.starts_with("AK010 source-denied\n"), "{text}");
        assert!(
            text.contains("Allow the action") && text.ends_with("77 (not permitted)\n"),
            "{text}"
        );
        assert_eq!(
            FaultCode::all()
                .map(listed)
                .filter(|line| line.lines().count() == 1)
                .count(),
            FaultCode::all().count()
        );
    }
}
