//! The write is killed, and made to fail, at every one of its system calls in turn.
//!
//! The victim is this very program, run once more. strace is attached to it before it begins, and
//! the write runs on a thread of its own: strace counts calls per thread, so that "the third
//! openat" is the third of the write.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use authkeys_testing::{alone, has, is_root, test_name};
use authkeysd::host::{Host, Node, Replaced};

use crate::home::*;

const LENGTH: usize = 40_000;
const LOCK: &str = ".authorized_keys.d.lock";
const DONE: i32 = 40;
const REFUSED: i32 = 41;

/// Calls that belong to the thread and the allocator, and to no file; killed like the others, but
/// not made to fail.
const OF_THE_THREAD: [&str; 15] = [
    "brk",
    "exit",
    "futex",
    "gettid",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "prctl",
    "rseq",
    "rt_sigprocmask",
    "sched_getaffinity",
    "set_robust_list",
    "sigaltstack",
    "geteuid",
];

/// Calls whose failure must never be swallowed.
const MUST_SUCCEED: [&str; 9] = [
    "setgroups",
    "setfsgid",
    "setfsuid",
    "mkdirat",
    "getrandom",
    "fchmod",
    "write",
    "fsync",
    "renameat",
];

/// Calls by which a thread takes an account's identity, and gives it back.
const OF_THE_IDENTITY: [&str; 5] = ["getegid", "getgroups", "setfsgid", "setfsuid", "setgroups"];

fn keys(letter: u8) -> Vec<u8> {
    let mut keys = vec![letter; LENGTH];
    keys[LENGTH - 1] = b'\n';
    keys
}

/// The victim: waits for its tracer, replaces the file, and tells the outcome by its exit status.
#[test]
#[allow(
    clippy::exit,
    reason = "a process of its own, whose status is the outcome"
)]
fn victim() {
    let Some(home) = std::env::var_os("AUTHKEYSD_TEST_VICTIM_HOME") else {
        return;
    };
    let home = Home::at(&PathBuf::from(home));
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let alone = threads();
    let seen = Node::default().read(&home.target()).unwrap();
    while threads() > alone {
        thread::yield_now();
    }
    let node = Node::default();
    // A signal to begin that takes no call which the write makes, too: an injection would hit it
    // here.
    let signal = UnixListener::bind(home.outside.join("begin")).unwrap();
    println!("ready");
    signal.accept().unwrap();
    match node.replace(&home.target(), &seen.stamp, &keys(b'n')) {
        Ok(Replaced::Done) => std::process::exit(DONE),
        Ok(Replaced::ChangedMeanwhile) => std::process::exit(1),
        Err(_) => std::process::exit(REFUSED),
    }
}

/// Runs the victim with strace attached; gives its exit status, if it was not killed.
fn attack(root: &Path, strace: &[&str]) -> Option<i32> {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(alone(test_name(&victim)))
        .env("AUTHKEYSD_TEST_VICTIM_HOME", root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(victim.stdout.take().unwrap());
    wait_for(&mut told, "ready");
    let mut tracer = Command::new("strace")
        .args(["-f", "-y", "-p", &victim.id().to_string()])
        .args(strace)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tracer_told = BufReader::new(tracer.stderr.take().unwrap());
    wait_for(&mut tracer_told, "attached");
    UnixStream::connect(root.join("outside/begin")).unwrap();
    let status = victim.wait().unwrap();
    tracer_told.read_to_end(&mut Vec::new()).unwrap();
    tracer.wait().unwrap();
    status.code()
}

fn wait_for(lines: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(
            lines.read_line(&mut line).unwrap() > 0,
            "it ended before it was {word}"
        );
    }
}

/// The system calls of one undisturbed write: name and whole line, in their order.
fn calls(root: &Path) -> Vec<(String, String)> {
    let log = root.join("log");
    assert_eq!(attack(root, &["-o", log.to_str().unwrap()]), Some(DONE));
    let log = fs::read_to_string(log).unwrap();
    // The thread that renames is the one that writes.
    let thread = log
        .lines()
        .find(|line| line.contains("renameat"))
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    log.lines()
        .filter_map(|line| {
            line.strip_prefix(thread)?
                .trim_start()
                .split_once('(')
                .map(|(name, _)| (name, line))
        })
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .map(|(name, line)| (name.to_owned(), line.to_owned()))
        .collect()
}

/// A home in the state before the write.
fn fresh(root: &Path, with_file: bool) -> Home {
    for below in ["home", "outside"] {
        let _ = fs::remove_dir_all(root.join(below));
    }
    let home = Home::below(root);
    if with_file {
        let home = home.with_ssh();
        home.put(&home.file(), &keys(b'o'), 0o600);
        return home;
    }
    home
}

/// Old or new, complete, of the right owner and mode; then one more cycle, which leaves nothing but
/// the new file.
fn judge(home: &Home, with_file: bool, status: Option<i32>, after_rename: bool, what: &str) {
    let found = fs::read(home.file()).ok();
    let new = found.as_deref() == Some(&keys(b'n')[..]);
    let old = if with_file {
        found.as_deref() == Some(&keys(b'o')[..])
    } else {
        found.is_none()
    };
    assert!(new || old, "{what}: neither old nor new");
    assert!(
        status != Some(DONE) || new,
        "{what}: reported as done, but it is the old file"
    );
    assert!(
        status != Some(REFUSED) || old || after_rename,
        "{what}: reported as failed, but it is the new file"
    );
    assert!(
        matches!(status, None | Some(DONE | REFUSED)),
        "{what}: {status:?}"
    );
    if found.is_some() {
        home.assert_owned(&home.file(), 0o600);
    }
    let ssh = home.path.join(".ssh");
    if ssh.exists() {
        home.assert_owned(&ssh, 0o700);
        if status.is_some() {
            assert!(
                names(&ssh).iter().all(|name| name == "authorized_keys"),
                "{what}: {:?}",
                names(&ssh)
            );
        }
    }
    assert_eq!(
        home.sync(&keys(b'n')).unwrap(),
        Replaced::Done,
        "{what}: the next cycle"
    );
    assert_eq!(fs::read(home.file()).unwrap(), keys(b'n'), "{what}");
    assert_eq!(
        names(&ssh),
        ["authorized_keys"],
        "{what}: stray files after the next cycle"
    );
}

/// Every call of a write under one action; returns how many there were.
fn attack_every_call(action: &str, with_file: bool) -> usize {
    let root = in_memory();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fresh(root.path(), with_file);
    let calls = calls(root.path());
    let renamed = calls
        .iter()
        .position(|(name, _)| name.starts_with("renameat"))
        .unwrap();
    // After the write the thread becomes itself again and waits, or ends.
    let is_of_the_write = |(name, _): &(String, String)| {
        !OF_THE_THREAD.contains(&name.as_str()) && !OF_THE_IDENTITY.contains(&name.as_str())
    };
    let last = calls.iter().rposition(is_of_the_write).unwrap();
    let mut counts = HashMap::<&str, u32>::new();
    let mut attacks = 0;
    for (index, (name, line)) in calls.iter().enumerate().take(last + 1) {
        let count = counts.entry(name).or_default();
        *count += 1;
        if name == "exit" || (action.starts_with("error") && OF_THE_THREAD.contains(&name.as_str()))
        {
            continue;
        }
        let home = fresh(root.path(), with_file);
        let inject = format!("inject={name}:{action}:when={count}");
        let status = attack(
            root.path(),
            &[
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={name}"),
                "-e",
                &inject,
            ],
        );
        let what = format!("{action} at call {index}, {line}");
        assert!(
            status.is_none() || action.starts_with("error"),
            "{what}: it was not killed"
        );
        let must_tell = line.contains("O_EXCL|") || MUST_SUCCEED.contains(&name.as_str());
        if must_tell && action.starts_with("error") && action != "error=EINTR" {
            assert_eq!(status, Some(REFUSED), "{what}: not reported");
        }
        judge(&home, with_file, status, index > renamed, &what);
        attacks += 1;
    }
    attacks
}

#[test]
fn f40_a_kill_at_any_system_call_leaves_the_old_file_or_the_new_one() {
    if has(&["strace"]) {
        let calls = attack_every_call("signal=KILL", true);
        assert!(calls > 30, "only {calls} calls");
    }
}

#[test]
fn f40_a_kill_at_any_system_call_of_the_very_first_write_leaves_no_half_file() {
    if has(&["strace"]) {
        let calls = attack_every_call("signal=KILL", false);
        assert!(calls > 30, "only {calls} calls");
    }
}

/// Errors that the file system may answer with, at every call that it answers.
fn fail_every_call(errors: &[&str]) {
    if has(&["strace"]) {
        for error in errors {
            let calls = attack_every_call(&format!("error={error}"), true);
            assert!(calls > 20, "only {calls} calls");
        }
    }
}

#[test]
fn f40_a_full_disk_at_any_system_call_is_reported_or_harmless() {
    fail_every_call(&["ENOSPC", "EDQUOT"]);
}

#[test]
fn f40_a_broken_disk_at_any_system_call_is_reported_or_harmless() {
    fail_every_call(&["EIO", "EROFS"]);
}

#[test]
fn f40_a_denial_or_an_interruption_at_any_system_call_is_reported_or_harmless() {
    fail_every_call(&["EACCES", "EINTR"]);
}

#[test]
fn f40_any_error_while_the_directory_is_made_is_reported_or_harmless() {
    if has(&["strace"]) {
        attack_every_call("error=EIO", false);
    }
}

#[test]
fn f01_f19_owner_mode_and_fsync_come_before_the_rename_and_the_directory_is_synced_after_it() {
    if !has(&["strace"]) {
        return;
    }
    let root = in_memory();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = fresh(root.path(), true);
    home.put(&home.path.join(LOCK), b"", 0o600);
    // A set-group-id directory of another group: the owner has to be set, too.
    if is_root() {
        std::os::unix::fs::chown(home.path.join(".ssh"), None, Some(0)).unwrap();
        fs::set_permissions(home.path.join(".ssh"), fs::Permissions::from_mode(0o2700)).unwrap();
    }
    let calls = calls(root.path());
    let place = |what: &str, test: &dyn Fn(&str, &str) -> bool| {
        calls
            .iter()
            .position(|(name, line)| test(name, line))
            .unwrap_or_else(|| panic!("no {what} among {calls:#?}"))
    };
    let created = place("O_EXCL", &|name, line| {
        name == "openat" && line.contains("O_EXCL|")
    });
    let moded = place("fchmod", &|name, line| {
        name == "fchmod" && line.contains(".authkeysd-") && line.contains("0600")
    });
    let last_write = calls.iter().rposition(|(name, _)| name == "write").unwrap();
    let synced = place("fsync", &|name, line| {
        name == "fsync" && line.contains(".authkeysd-")
    });
    let renamed = place("rename", &|name, _| name.starts_with("renameat"));
    let durable = place("directory's fsync", &|name, line| {
        name == "fsync" && line.contains("/.ssh>")
    });
    let marked = place("flock", &|name, line| {
        name == "flock" && line.contains(".authkeysd-")
    });
    assert!(created < moded && moded < renamed);
    assert!(
        created < marked && marked < last_write,
        "a sweep by another process could take it"
    );
    assert!(
        created < last_write && last_write < synced && synced < renamed && renamed < durable,
        "{calls:#?}"
    );
    let locked = place("lock", &|name, line| name == "flock" && line.contains(LOCK));
    let unlocked = place("end of the lock", &|name, line| {
        name == "close" && line.contains(LOCK)
    });
    assert!(
        synced < locked && locked < renamed && durable < unlocked,
        "{calls:#?}"
    );
    if is_root() {
        let owned = place("fchown", &|name, line| {
            name == "fchown" && line.contains("60001")
        });
        assert!(created < owned && owned < renamed);
        let groups = place("setgroups", &|name, line| {
            name == "setgroups" && line.contains("60001")
        });
        let identity = place("setfsuid", &|name, line| {
            name == "setfsuid" && line.contains("60001")
        });
        assert!(
            groups < identity
                && identity
                    < calls
                        .iter()
                        .position(|(_, line)| line.contains("/home"))
                        .unwrap()
        );
    }
}

#[test]
fn f17_nobody_can_predict_the_name_of_the_temporary_file() {
    if !has(&["strace"]) {
        return;
    }
    let root = in_memory();
    let random = || {
        fresh(root.path(), true);
        let calls = calls(root.path());
        let (_, line) = calls
            .iter()
            .find(|(name, _)| name.starts_with("renameat"))
            .unwrap();
        line.split_once(".authorized_keys.authkeysd-")
            .unwrap()
            .1
            .split_once('"')
            .unwrap()
            .0
            .to_owned()
    };
    let (one, other) = (random(), random());
    assert!(
        one.len() == 16 && one.chars().all(|c| c.is_ascii_hexdigit()),
        "{one}"
    );
    assert_ne!(one, other);
}

#[test]
fn f40_a_rename_that_did_not_happen_is_found_by_reading_back() {
    if !has(&["strace"]) {
        return;
    }
    let root = in_memory();
    let home = fresh(root.path(), true);
    let lie = [
        "-o",
        "/dev/null",
        "-e",
        "trace=renameat,renameat2",
        "-e",
        "inject=renameat,renameat2:retval=0",
    ];
    assert_eq!(attack(root.path(), &lie), Some(REFUSED));
    assert_eq!(fs::read(home.file()).unwrap(), keys(b'o'));
    assert_eq!(home.sync(&keys(b'n')).unwrap(), Replaced::Done);
    assert_eq!(names(&home.path.join(".ssh")), ["authorized_keys"]);
}

#[test]
fn f01_the_parent_of_a_directory_that_was_made_is_synced_before_the_file_is_named() {
    if !has(&["strace"]) {
        return;
    }
    // Most journals hide a missing fsync here, so that no loss of power shows it: the order has to.
    let root = in_memory();
    fresh(root.path(), false);
    let calls = calls(root.path());
    let made = calls
        .iter()
        .position(|(name, line)| name.starts_with("mkdir") && line.contains("\".ssh\""))
        .unwrap();
    let synced = calls
        .iter()
        .position(|(name, line)| name == "fsync" && line.contains("/home>"))
        .unwrap();
    let renamed = calls
        .iter()
        .position(|(name, _)| name.starts_with("renameat"))
        .unwrap();
    assert!(made < synced && synced < renamed, "{calls:#?}");
}
