//! However `authkeysctl agent` and its command end, and at whatever moment: no agent, no guard and
//! no file of theirs is left.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use authkeys_testing::{Key, eventually, lab};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::using::{Bench, pair, prepared, processes, with_bench};

const SECRET: &str = "prod/ssh/workers";
const TEMPORARY: &str = "/run/lab/temporary";
const RUNS: &str = "/run/lab/temporary-command-runs";

fn started(bench: &Bench, text: &str) -> Child {
    fs::create_dir_all(TEMPORARY).unwrap();
    fs::remove_file(RUNS).ok();
    let mut command = bench.ctl();
    command
        .env("TMPDIR", TEMPORARY)
        .args(["agent", "--secret", SECRET, "--", "sh", "-c"])
        .arg(format!("ssh-add -l > {RUNS}; {text}"))
        .stdout(Stdio::null())
        // A shell gives each of its jobs a group of its own.
        .process_group(0);
    command.spawn().unwrap()
}

fn runs(child: &Child) {
    eventually("the command runs", || {
        fs::read_to_string(RUNS).is_ok_and(|keys| keys.contains("SHA256:"))
    });
    assert!(Path::new(&format!("/proc/{}", child.id())).exists());
}

/// The processes of an agent and of its guard.
fn found() -> Vec<(i32, String)> {
    let ours = |line: &str| line.starts_with("ssh-agent") || line.contains(" agent-guard ");
    processes()
        .into_iter()
        .filter(|(_, line)| ours(line))
        .collect()
}

/// Asserts that nothing of it is left within the time.
#[track_caller]
fn nothing_is_left(within: Duration, what: &str) {
    let begun = Instant::now();
    loop {
        let files: Vec<_> = fs::read_dir(TEMPORARY).unwrap().flatten().collect();
        let processes = found();
        if files.is_empty() && processes.is_empty() {
            return;
        }
        assert!(begun.elapsed() < within, "{what}: {files:?} {processes:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn whatever_kills_it_at_whatever_moment_no_agent_is_left() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            bench.create(SECRET, &pair(&Key::new("k")));
            let signals = [
                Signal::SIGKILL,
                Signal::SIGTERM,
                Signal::SIGINT,
                Signal::SIGHUP,
            ];
            // From before it has begun to when the command has run for long.
            for moment in [0, 2, 4, 6, 8, 10, 13, 16, 20, 30, 45, 60, 90, 130, 200, 400] {
                for signal in signals {
                    let mut child = started(bench, "exec sleep 600");
                    std::thread::sleep(Duration::from_millis(moment));
                    kill(pid(&child), signal).unwrap();
                    child.wait().unwrap();
                    nothing_is_left(
                        Duration::from_secs(3),
                        &format!("{signal} after {moment} ms"),
                    );
                }
            }
            for signal in signals {
                let mut child = started(bench, "exec sleep 600");
                runs(&child);
                let agents = found();
                assert_eq!(agents.len(), 2, "an agent and its guard: {agents:?}");
                // As a terminal does it: the whole job.
                killpg(pid(&child), signal).unwrap();
                child.wait().unwrap();
                nothing_is_left(Duration::from_secs(1), &format!("{signal} for the job"));
            }
        });
    });
}

#[test]
fn the_agent_ends_with_the_command_and_lives_as_long_as_it() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            bench.create(SECRET, &pair(&Key::new("k")));
            // A command that goes on after a Ctrl-C still has its agent.
            let text = "trap : INT; touch /run/lab/trapped; while [ ! -e /run/lab/end ]; do sleep \
                        0.05; done; ssh-add -l > /run/lab/last";
            let mut child = started(bench, text);
            runs(&child);
            eventually("the trap is set", || Path::new("/run/lab/trapped").exists());
            killpg(pid(&child), Signal::SIGINT).unwrap();
            std::thread::sleep(Duration::from_millis(300));
            fs::write("/run/lab/end", "").unwrap();
            assert!(child.wait().unwrap().success());
            let last = fs::read_to_string("/run/lab/last").unwrap();
            assert!(last.contains("SHA256:"), "{last}");
            nothing_is_left(Duration::from_secs(1), "the command's own end");

            // What a command leaves behind in the background has none.
            let mut child = started(bench, "sleep 600 & exit 3");
            assert_eq!(child.wait().unwrap().code(), Some(3));
            nothing_is_left(
                Duration::from_secs(1),
                "a command with something in the background",
            );

            // An agent that does not answer is ended too.
            let mut child = started(bench, "exec sleep 600");
            runs(&child);
            let agents = found();
            let agent = agents
                .iter()
                .find(|(_, line)| line.starts_with("ssh-agent"))
                .unwrap();
            kill(Pid::from_raw(agent.0), Signal::SIGSTOP).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            nothing_is_left(Duration::from_secs(3), "an agent that hangs");
        });
    });
}

#[test]
fn when_the_guard_is_killed_as_well_the_agent_ends_by_itself() {
    if !prepared() {
        return;
    }
    lab(|| {
        with_bench(|bench| {
            bench.create(SECRET, &pair(&Key::new("k")));
            let mut child = started(bench, "exec sleep 600");
            runs(&child);
            let agents = found();
            let guard = agents
                .iter()
                .find(|(_, line)| !line.starts_with("ssh-agent"))
                .unwrap();
            kill(Pid::from_raw(guard.0), Signal::SIGKILL).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            // ssh-agent looks for its parent every ten seconds, and takes its socket along.
            eventually("the agent ends", || found().is_empty());
            let left = fs::read_dir(TEMPORARY).unwrap().flatten();
            for directory in left {
                assert!(!directory.path().join("agent").exists());
            }
        });
    });
}
