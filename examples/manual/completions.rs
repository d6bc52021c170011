//! What each shell completes.

use clap_complete::{Shell, generate};

/// The files, by the names that the shells look for.
pub(crate) fn all() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for table in [authkeysd::command::table, authkeysctl::table] {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut table = table();
            let program = table.get_name().to_owned();
            let name = match shell {
                Shell::Zsh => format!("_{program}"),
                _ => format!("{program}.{shell}"),
            };
            let mut text = Vec::new();
            generate(shell, &mut table, program, &mut text);
            files.push((name, text));
        }
    }
    files
}
