//! The whole program, killed at each system call of one run that changes anything: afterwards
//! alice's file is old or new, the next run succeeds and clears up, and no key is left behind that
//! nobody would revoke.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use authkeys_testing::{
    Key, Run, Setup, authorized_keys, clean_command, contents, install, lab, outcome_of,
};

/// What changes something on disk, in the names that the tracer knows; a call that this machine
/// lacks is left out.
const CALLS: &str = "openat,write,writev,pwrite64,ftruncate,fchmod,fchmodat,fchown,fchownat,fsync,fdatasync,?rename,renameat,?renameat2,?unlink,unlinkat,?mkdir,mkdirat,?link,linkat,flock,utimensat";

/// alice on a private machine, with a configuration that stays, and the node's files put back
/// before every run.
struct Victim {
    setup: Setup,
    own: Key,
    old: Key,
    new: Key,
}

/// The state directory and alice's file, as they were before the run that is killed.
type Before = BTreeMap<PathBuf, Vec<u8>>;

impl Victim {
    fn new(extra: &str) -> Self {
        let setup = Setup::new().account("alice", extra);
        Self {
            setup,
            own: Key::new("own"),
            old: Key::new("old"),
            new: Key::new("new"),
        }
    }

    fn publish(&self, serial: u32, key: &Key) {
        self.setup.publish(format!(
            "{{\"version\": 1, \"serial\": {serial}, \"keys\": [{{\"public_key\": \"{}\"}}]}}",
            key.line
        ));
    }

    /// A node that has the old key, and the new one published; or one that never ran.
    fn prepare(&self, fresh: bool) -> Before {
        install("alice", format!("{}\n", self.own.line).as_bytes());
        if fresh {
            self.setup.write_config();
        } else {
            self.publish(1, &self.old);
            self.setup.run(["sync"]).succeeds();
        }
        self.publish(2, &self.new);
        contents(&self.setup.state_dir())
    }

    /// Puts state and file back.
    fn reset(&self, before: &Before, file: &[u8]) {
        let state = self.setup.state_dir();
        std::fs::remove_dir_all(&state).unwrap();
        std::fs::create_dir(&state).unwrap();
        // It would tell of a cycle that the state does not know.
        let _ = std::fs::remove_file(self.setup.runtime_dir().join("status.json"));
        for (path, content) in before {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        for entry in std::fs::read_dir("/home/alice/.ssh").unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        install("alice", file);
    }

    fn command(&self) -> Command {
        let mut command = clean_command();
        command.arg("--config").arg(self.setup.config()).arg("sync");
        command
    }

    fn sync(&self) -> Run {
        outcome_of(&mut self.command())
    }

    /// One run under the tracer: whether it came to its own end.
    fn traced(&self, arguments: &[&str]) -> bool {
        let sync = self.command();
        let mut tracer = Command::new("strace");
        tracer
            .args(["-f", "-y", "-qq"])
            .args(arguments)
            .arg(sync.get_program())
            .args(sync.get_args());
        tracer.env_clear().envs(
            sync.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let status = tracer
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        status.success()
    }

    /// How often each of the calls is made by the thread that makes it most: the tracer counts for
    /// each thread.
    fn counts(&self, only: &[&str]) -> BTreeMap<String, usize> {
        let log = self.setup.path("log");
        let trace = format!("trace={CALLS}");
        assert!(
            self.traced(&[only, &["-e", &trace, "-o", log.to_str().unwrap()]].concat()),
            "undisturbed"
        );
        let mut threads: BTreeMap<(String, String), usize> = BTreeMap::new();
        for line in std::fs::read_to_string(&log).unwrap().lines() {
            let (thread, call) = line.split_once(' ').unwrap();
            let Some((name, _)) = call.trim_start().split_once('(') else {
                continue;
            };
            *threads
                .entry((name.to_owned(), thread.to_owned()))
                .or_default() += 1;
        }
        let mut most: BTreeMap<String, usize> = BTreeMap::new();
        for ((name, _), count) in threads {
            let known = most.entry(name).or_default();
            *known = count.max(*known);
        }
        most
    }

    /// Kills a run at each call in turn and judges what it left behind; gives the lines of the
    /// calls that were hit. Of calls that several threads make, the first in time is hit; `only` (a
    /// tracer's `-P`) tells them apart.
    fn kill_everywhere(&self, before: &Before, old: &[u8], only: &[&str]) -> Vec<String> {
        let (file, state, log) = (
            authorized_keys("alice"),
            self.setup.state_dir(),
            self.setup.path("log"),
        );
        self.reset(before, old);
        let counts = self.counts(only);
        let new = std::fs::read(&file).unwrap();
        let kept = names(&state);
        assert_ne!(old, new);
        let mut hit = Vec::new();
        for (call, count) in &counts {
            for nth in 1..=*count {
                self.reset(before, old);
                let trace = format!("trace={call}");
                let inject = format!("inject={call}:signal=KILL:when={nth}");
                let arguments = ["-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
                if self.traced(&[only, &arguments].concat()) {
                    // The threads of this run shared the calls out differently.
                    continue;
                }
                let text = std::fs::read_to_string(&log).unwrap();
                let line = text
                    .lines()
                    .rfind(|line| line.contains(&format!("{call}(")))
                    .unwrap();
                hit.push(line.split_once(' ').unwrap().1.trim_start().to_owned());
                self.judge(old, &new, &kept, &format!("{call} number {nth}: {line}"));
            }
        }
        hit
    }

    fn judge(&self, old: &[u8], new: &[u8], kept: &[String], what: &str) {
        let (file, state) = (authorized_keys("alice"), self.setup.state_dir());
        let found = std::fs::read(&file).unwrap();
        assert!(found == old || found == new, "{what}: neither old nor new");
        let stat = std::fs::metadata(&file).unwrap();
        assert_eq!(
            (stat.uid(), stat.gid(), stat.mode() & 0o7777),
            (60_001, 60_001, 0o600),
            "{what}"
        );
        // What is in the file must be known to be ours, or nobody would ever take it away.
        if found == new {
            let remembered = std::fs::read_to_string(state.join("state.json")).unwrap();
            assert!(
                remembered.contains(&self.new.fingerprint()),
                "{what}: installed, but not remembered"
            );
        }
        let run = self.sync();
        assert_eq!(
            (run.status, run.stderr.as_str()),
            (0, ""),
            "{what}: the next run: {run:?}"
        );
        assert_eq!(
            std::fs::read(&file).unwrap(),
            new,
            "{what}: after the next run"
        );
        assert_eq!(
            names(Path::new("/home/alice/.ssh")),
            ["authorized_keys"],
            "{what}: strays"
        );
        assert_eq!(names(&state), kept, "{what}: strays in the state directory");
        assert_eq!(
            names(&state.join("documents")).len(),
            1,
            "{what}: stray documents"
        );
    }
}

/// The state directory and alice's file after a run that was killed at its first call in alice's
/// `.ssh` that writes: everything is decided and remembered, so that the next run writes her file
/// before anything else.
fn decided(victim: &Victim, before: &Before, old: &[u8]) -> Before {
    victim.reset(before, old);
    let only = [
        "-P",
        SSH,
        "-e",
        "trace=getrandom,openat",
        "-e",
        "inject=openat:signal=KILL:when=3+",
    ];
    assert!(!victim.traced(&[&only[..], &["-o", "/dev/null"]].concat()));
    assert_eq!(std::fs::read(authorized_keys("alice")).unwrap(), old);
    let state = contents(&victim.setup.state_dir());
    assert!(
        state
            .iter()
            .any(|(_, text)| String::from_utf8_lossy(text).contains(&victim.new.fingerprint()))
    );
    state
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const SSH: &str = "/home/alice/.ssh";
const ONLY_SSH: &[&str] = &["-P", SSH, "-P", "/home/alice/.ssh/authorized_keys"];

/// Each of these was hit: a call's name, and a part of its line.
fn assert_hit(hit: &[String], expected: &[(&str, &str)]) {
    for (call, part) in expected {
        let found = |line: &String| line.starts_with(&format!("{call}(")) && line.contains(part);
        assert!(
            hit.iter().any(found),
            "no {call} with {part:?} among {hit:#?}"
        );
    }
}

#[test]
fn f40_a_run_that_is_killed_at_any_call_leaves_old_or_new_and_the_next_one_clears_up() {
    lab(|| {
        let victim = Victim::new("");
        let before = victim.prepare(false);
        let old = std::fs::read(authorized_keys("alice")).unwrap();
        let mut hit = victim.kill_everywhere(&before, &old, &[]);
        hit.extend(victim.kill_everywhere(&before, &old, ONLY_SSH));
        let decided = decided(&victim, &before, &old);
        hit.extend(victim.kill_everywhere(&decided, &old, &[]));
        let (ours, state, document) = (
            "/.ssh/.authorized_keys.authkeysd-",
            "/.state.json.authkeysd-",
            "/state/documents/.",
        );
        // Of writes to her file the first in time is a waking of the runtime; the calls around it
        // are hit.
        for file in [ours, state, document] {
            assert_hit(&hit, &[("fchmod", file), ("fsync", file)]);
        }
        assert_hit(&hit, &[("write", state)]);
        assert_hit(
            &hit,
            &[
                ("openat", ".authorized_keys.authkeysd-"),
                ("fsync", "/.ssh>"),
                ("fsync", "/state>"),
            ],
        );
        assert_hit(
            &hit,
            &[
                ("renameat", "\"authorized_keys\""),
                ("renameat", "\"state.json\""),
            ],
        );
        assert!(
            hit.iter().any(|line| line.starts_with("unlink")),
            "the sweep of old documents: {hit:#?}"
        );
        assert!(hit.len() > 80, "only {}", hit.len());
    });
}

#[test]
fn f40_so_does_the_very_first_run() {
    lab(|| {
        let victim = Victim::new("");
        let before = victim.prepare(true);
        let old = std::fs::read(authorized_keys("alice")).unwrap();
        let mut hit = victim.kill_everywhere(&before, &old, &[]);
        hit.extend(victim.kill_everywhere(&before, &old, ONLY_SSH));
        assert_hit(
            &hit,
            &[
                ("renameat", "\"authorized_keys\""),
                ("renameat", "\"state.json\""),
            ],
        );
        assert!(
            hit.iter()
                .any(|line| line.starts_with("mkdir") && line.contains("/documents")),
            "{hit:#?}"
        );
    });
}

#[test]
fn f40_so_does_a_run_that_takes_the_whole_file_over() {
    lab(|| {
        let victim = Victim::new("mode = \"exclusive\"");
        let before = victim.prepare(true);
        let old = std::fs::read(authorized_keys("alice")).unwrap();
        let mut hit = victim.kill_everywhere(&before, &old, &[]);
        hit.extend(victim.kill_everywhere(&before, &old, ONLY_SSH));
        assert_hit(
            &hit,
            &[
                ("renameat", "\"replaced-alice\""),
                ("renameat", "\"authorized_keys\""),
            ],
        );
        let kept = victim.setup.state_dir().join("replaced-alice");
        assert_eq!(
            std::fs::read(kept).unwrap(),
            old,
            "what was there first, whatever was killed"
        );
    });
}

#[test]
fn f09_f40_a_key_that_a_killed_run_installed_is_removed_when_it_leaves_the_set() {
    lab(|| {
        let victim = Victim::new("");
        let next = Key::new("next");
        let before = victim.prepare(false);
        let file = authorized_keys("alice");
        let old = std::fs::read(&file).unwrap();
        // Everything from the rename of alice's file on; `-P` tells it from the state's.
        for (call, nth) in [
            ("fsync", 1),
            ("fsync", 2),
            ("openat", 1),
            ("openat", 2),
            ("openat", 3),
        ] {
            victim.reset(&before, &old);
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let trace = format!("trace={call}");
            let paths = [
                "-P",
                "/home/alice/.ssh",
                "-P",
                "/home/alice/.ssh/authorized_keys",
            ];
            victim.traced(
                &[
                    &paths[..],
                    &["-o", "/dev/null", "-e", &trace, "-e", &inject],
                ]
                .concat(),
            );
            // Somebody copies the new key out of the block, then it leaves the set without having
            // been revoked by name.
            let text = std::fs::read_to_string(&file).unwrap();
            if text.contains(victim.new.base64()) {
                install(
                    "alice",
                    format!("no-pty {} a copy\n{text}", victim.new.bare()).as_bytes(),
                );
            }
            victim.publish(3, &next);
            let run = victim.sync();
            assert_eq!(
                (run.status, run.stderr.as_str()),
                (0, ""),
                "{call} {nth}: {run:?}"
            );
            let text = std::fs::read_to_string(&file).unwrap();
            for gone in [&victim.new, &victim.old] {
                assert!(!text.contains(gone.base64()), "{call} {nth}: {text}");
            }
            assert!(
                text.contains(victim.own.base64()) && text.contains(next.base64()),
                "{call} {nth}: {text}"
            );
            victim.publish(2, &victim.new);
        }
    });
}
