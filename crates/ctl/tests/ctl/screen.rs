//! A program on a terminal of its own, which `script` of util-linux makes: what it shows is read,
//! what a person types is sent.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authkeys_testing::eventually;

/// The terminal and what runs on it; both end when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Terminal {
    /// Runs a command with its program, arguments and environment on a terminal of so many columns.
    pub(crate) fn run(command: &Command, columns: u16) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words =
            words.map(|word| format!(" '{}'", word.to_str().unwrap().replace('\'', "'\\''")));
        let line = format!(
            "stty cols {columns} rows 24; exec{}",
            words.collect::<String>()
        );
        let set = command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        // Whoever runs the tests in the background may have them ignore Ctrl-C, and that is
        // inherited.
        let mut script = Command::new("env");
        script
            .args([
                "--default-signal=INT",
                "script",
                "--quiet",
                "--return",
                "--flush",
                "--command",
                &line,
                "/dev/null",
            ])
            .env_clear()
            .envs(set);
        script
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = script.spawn().expect("script of util-linux runs");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, seen) = (child.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        Self {
            keyboard: child.stdin.take(),
            child,
            shown,
        }
    }

    /// All that was ever shown, as it came.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until this is shown.
    pub(crate) fn shows(&self, words: &str) {
        let begun = Instant::now();
        while !self.shown().contains(words) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "never {words:?}, but {:?}",
                self.shown()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Presses keys: `\u{3}` is Ctrl-C, `\u{4}` at a line's start the end of input.
    pub(crate) fn types(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    /// The exit status, as a shell has it: 128 and the signal's number where one ended it.
    pub(crate) fn ends(&mut self) -> i32 {
        let mut status = None;
        eventually("the program on the terminal ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code().unwrap()
    }
}
