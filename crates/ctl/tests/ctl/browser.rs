//! A real headless Chromium, spoken to over its debugging pipe: it loads a page, and tells all that
//! happens on it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

const NAMES: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];
const PATIENCE: Duration = Duration::from_secs(60);

/// The browser with one tab; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    child: Child,
    commands: File,
    answers: Receiver<Value>,
    session: Value,
    last: u64,
    events: Vec<Value>,
    _home: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Where a Chromium is. Without one: a loud word, and in CI a failure.
pub(crate) fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = NAMES
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)));
    match found.into_iter().find(|program| program.is_file()) {
        Some(program) => Some(program),
        None if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
            panic!("no Chromium: run tests/lab/setup.sh browser")
        }
        None => {
            eprintln!("SKIPPED: no Chromium is installed; tests/lab/setup.sh browser brings one");
            None
        }
    }
}

impl Browser {
    pub(crate) fn start(program: &Path) -> Self {
        let home = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| home.path().join(name));
        for pipe in [&to, &from] {
            nix::unistd::mkfifo(pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        // Descriptors 3 and 4 are the debugging pipe; a shell hands them over without unsafe code
        // of ours.
        let child = Command::new("sh")
            .args([
                "-c",
                r#"program=$1; to=$2; from=$3; shift 3; exec "$program" "$@" 3<"$to" 4>"$from""#,
                "sh",
            ])
            .args([program, &to, &from])
            .args([
                "--remote-debugging-pipe",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--disable-background-networking",
                "--no-first-run",
                "about:blank",
            ])
            .arg(format!(
                "--user-data-dir={}",
                home.path().join("profile").display()
            ))
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = File::options().write(true).open(&to).unwrap();
        let answers = BufReader::new(File::open(&from).unwrap());
        let (send, receive) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                if send
                    .send(serde_json::from_slice(&message).unwrap())
                    .is_err()
                {
                    break;
                }
            }
        });
        let mut browser = Self {
            child,
            commands,
            answers: receive,
            session: Value::Null,
            last: 0,
            events: Vec::new(),
            _home: home,
        };
        let tab =
            browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": tab, "flatten": true}),
        );
        browser.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// A screen of that size, `dark` or `light`.
    pub(crate) fn screen(&mut self, width: u32, height: u32, scheme: &str) {
        let mobile = width < 600;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// Loads a file to its end.
    pub(crate) fn open(&mut self, file: &Path) {
        self.events.clear();
        let went = self.call(
            "Page.navigate",
            json!({"url": format!("file://{}", file.display())}),
        );
        assert!(went.get("errorText").is_none(), "{went}");
        while !self
            .events
            .iter()
            .any(|event| event["method"] == "Page.loadEventFired")
        {
            self.hear();
        }
    }

    /// The value of an expression on the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true}),
        );
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Waits for a promise on the page.
    pub(crate) fn wait(&mut self, promise: &str) {
        let answer = self.call(
            "Runtime.evaluate",
            json!({"expression": promise, "awaitPromise": true}),
        );
        assert!(
            answer.get("exceptionDetails").is_none(),
            "{promise}: {answer}"
        );
    }

    /// A picture of the whole page, for people.
    pub(crate) fn picture(&mut self, file: &Path) {
        let answer = self.call(
            "Page.captureScreenshot",
            json!({"captureBeyondViewport": true}),
        );
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(answer["data"].as_str().unwrap())
            .unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// What the page asked for since it was opened, itself excepted.
    pub(crate) fn requests(&self) -> Vec<String> {
        let asked = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        asked
            .map(|event| event["params"]["request"]["url"].to_string())
            .skip(1)
            .collect()
    }

    /// What went wrong on the page since it was opened: errors, refused scripts and styles, dialogs
    /// that popped up.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let bad = [
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        ];
        self.events
            .iter()
            .filter(|event| bad.iter().any(|method| event["method"] == *method))
            .collect()
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        loop {
            let answer = self.hear();
            if answer["id"] == self.last {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn hear(&mut self) -> Value {
        let message = self
            .answers
            .recv_timeout(PATIENCE)
            .expect("the browser answers");
        if message.get("method").is_some() {
            self.events.push(message.clone());
        }
        message
    }
}
