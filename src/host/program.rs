//! Runs other programs: with empty standard input, a time limit, and none of their processes left
//! behind (row 33 of docs/failures.md).

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Gid, Pid, Uid};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{Account, identity};
use crate::locked::locked;
use authkeys_terminal::bounded;

/// Where the programs that ours start are found; a service's own PATH may differ from the system's.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// The most bytes of the output that are kept; `sshd -T` prints about 6 KB.
const MAX_ANSWER: usize = 1 << 16;
const POLL: Duration = Duration::from_millis(2);
/// How long a killed program may take to end.
const DYING: Duration = Duration::from_secs(2);

/// The output of a program, and how it ended.
#[derive(Debug)]
pub(super) struct ProgramOutput {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl ProgramOutput {
    /// The last line on standard error, else on standard output.
    pub(super) fn last_line(&self) -> &str {
        for text in [&self.stderr, &self.stdout] {
            if let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) {
                return line.trim();
            }
        }
        "nothing"
    }
}

/// The first of these programs that is installed.
pub(super) fn installed<const N: usize>(programs: [&'static str; N]) -> Option<&'static str> {
    programs
        .into_iter()
        .find(|program| Path::new(program).is_file())
}

/// A command with a small environment that is the same for every caller.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/");
    command
}

/// Whether a program run as the account runs as a user other than ours.
pub(super) fn is_another(account: &Account) -> bool {
    Uid::effective().is_root() && account.uid != 0
}

/// Runs the command as the account with all its ids and no privileges. Of its groups only the
/// primary one is set, which is enough in its own home. Without root it runs as the current user.
pub(super) fn as_account(command: &mut Command, account: &Account) {
    if is_another(account) {
        command.uid(account.uid).gid(account.gid);
    }
    command
        .env("HOME", &account.home)
        .env("USER", account.user.as_str())
        .env("LOGNAME", account.user.as_str());
}

/// Runs the command. The error is of the kind `TimedOut` if the command took too long and was
/// killed with its whole process group. `account` is the account that it runs as, if that is not
/// ours; then no process that it started outlives the run.
pub(super) fn run(
    command: &mut Command,
    limit: Duration,
    account: Option<&Account>,
) -> io::Result<ProgramOutput> {
    run_reading(command, Stdio::null(), limit, account)
}

/// Runs the command with something on its standard input.
pub(super) fn run_reading(
    command: &mut Command,
    stdin: Stdio,
    limit: Duration,
    account: Option<&Account>,
) -> io::Result<ProgramOutput> {
    let account = account.filter(|account| is_another(account));
    if account.is_some() {
        // Descendants that lose their parent become our children, whatever session or group they
        // have moved to.
        set_child_subreaper(true)?;
    }
    // Started before the program: when it is needed, the system may allow no further thread.
    let killer = account.map(Killer::start).transpose()?;
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let mut stdout = Drain::new(child.stdout.take())?;
    let mut stderr = Drain::new(child.stderr.take())?;
    let started = Instant::now();
    loop {
        let ended = child.try_wait();
        // Read what is left in the pipes after its end, without waiting for a grandchild that keeps
        // them open.
        stdout.read();
        stderr.read();
        match ended {
            Ok(Some(status)) => {
                if let Some(killer) = killer {
                    killer.kill(None)?;
                }
                return Ok(ProgramOutput {
                    status,
                    stdout: stdout.text(),
                    stderr: stderr.text(),
                });
            }
            Ok(None) if started.elapsed() < limit => thread::sleep(POLL),
            Ok(None) => break,
            Err(fault) => return Err(fault),
        }
    }
    end(&mut child, killer)?;
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("it did not end within {limit:?} and was killed"),
    ))
}

/// Kills the child and everything in its group, or, if it runs as another account, every process
/// that it started.
fn end(child: &mut Child, killer: Option<Killer>) -> io::Result<()> {
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let killed = match killer {
        Some(killer) => killer.kill(Some(pid)),
        None => match killpg(pid, Signal::SIGKILL) {
            Err(Errno::ESRCH) | Ok(()) => Ok(()),
            Err(fault) => Err(fault.into()),
        },
    };
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > DYING {
            return Err(io::Error::other("it hangs and cannot be killed"));
        }
        thread::sleep(POLL);
    }
    killed
}

/// Kills and reaps each of our children that belongs to the account, and the processes that become
/// our children by that, until none is left.
///
/// It happens on a thread with the account's effective uid: root without CAP_KILL, as in a sandbox,
/// may not signal other users' processes. The real uid stays root's, so that the account can
/// neither signal nor trace this thread. Therefore the thread could also signal root's processes,
/// and must spare them.
struct Killer {
    thread: JoinHandle<io::Result<()>>,
    order: SyncSender<Option<Pid>>,
}

impl Killer {
    /// Starts the thread, which waits until it is needed, and ends if it is not.
    fn start(account: &Account) -> io::Result<Self> {
        let uid = rustix::thread::Uid::from_raw(account.uid);
        let (order, orders) = sync_channel(1);
        let thread = thread::Builder::new().name("killer".to_owned());
        let started = thread.spawn(move || match orders.recv() {
            Ok(running) => kill_all(uid, running),
            Err(_) => Ok(()),
        });
        match started {
            Ok(thread) => Ok(Self { thread, order }),
            // An error of its own: by its number it would be taken for the account's limit.
            Err(fault) => Err(io::Error::other(format!(
                "cannot start a thread that ends what it starts: {fault}; check the limits on \
                 tasks and memory"
            ))),
        }
    }

    /// `running` is a child that is reaped elsewhere.
    fn kill(self, running: Option<Pid>) -> io::Result<()> {
        let _ = self.order.send(running);
        match self.thread.join() {
            Ok(ended) => ended,
            Err(_) => Err(io::Error::other(
                "the thread that kills what it started died",
            )),
        }
    }
}

/// One thread at a time lists and reaps: the kernel's list may leave out children while others are
/// reaped (proc_tid_children(5)).
static LISTING: Mutex<()> = Mutex::new(());

/// Kills and reaps, on a thread that takes the account's effective uid.
fn kill_all(uid: rustix::thread::Uid, running: Option<Pid>) -> io::Result<()> {
    // The thread has the file-system identity of the one that started it, which may be the
    // account's: then every process of root's would be hidden.
    if !identity::set_gid(Gid::effective()) {
        return Err(io::Error::other(
            "the thread that kills what it started cannot be root's",
        ));
    }
    become_uid(uid)?;
    if let Some(child) = running {
        let _ = killpg(child, Signal::SIGKILL);
        // It may have left its group.
        let _ = kill(child, Signal::SIGKILL);
    }
    let started = Instant::now();
    loop {
        // When a process has ended, its children are ours. So what is listed now is all of it only
        // if nothing ended, or has yet to end, after this.
        let mut left = usize::from(running.is_some_and(still_runs));
        // A process that is hidden from root is not root's.
        become_uid(rustix::thread::Uid::ROOT)?;
        let alone = locked(&LISTING);
        let children = others(children()?);
        become_uid(uid)?;
        for child in children {
            // Each of them must get its signal. What may not be signalled is another account's.
            if Some(child) != running && kill(child, Signal::SIGKILL).is_ok() {
                let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
                left += 1;
            }
        }
        drop(alone);
        if left == 0 {
            return Ok(());
        }
        if started.elapsed() > DYING {
            return Err(io::Error::other(format!(
                "it left {left} processes behind that cannot be killed"
            )));
        }
        thread::yield_now();
    }
}

/// Whether a child of ours has yet to end. It is not reaped.
fn still_runs(child: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(child), flags), Ok(WaitStatus::StillAlive))
}

/// Changes the effective uid of this thread.
fn become_uid(uid: rustix::thread::Uid) -> rustix::io::Result<()> {
    rustix::thread::set_thread_res_uid(None, uid, None)
}

/// The processes that root does not run, by their real uid: what the account starts cannot have
/// root's.
fn others(mut processes: Vec<Pid>) -> Vec<Pid> {
    processes.retain(|pid| !is_roots(*pid));
    processes
}

/// Whether root runs a process. One that is gone, or tells nothing, counts as another's.
fn is_roots(process: Pid) -> bool {
    let file = format!("/proc/{process}/status");
    let Ok(Some(found)) = bounded::read(Path::new(&file), 1 << 16) else {
        return false;
    };
    let text = String::from_utf8_lossy(&found.content);
    text.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// The children of all our threads.
fn children() -> io::Result<Vec<Pid>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        // The thread may have ended; a kernel without this file lists no children.
        let Ok(Some(found)) = bounded::read(&task?.path().join("children"), 1 << 20) else {
            continue;
        };
        let text = String::from_utf8_lossy(&found.content).into_owned();
        for word in text.split_whitespace() {
            if let Ok(pid) = word.parse() {
                all.push(Pid::from_raw(pid));
            }
        }
    }
    Ok(all)
}

/// One pipe of a program, read as far as data is available.
struct Drain<R> {
    pipe: Option<R>,
    kept: Vec<u8>,
}

impl<R: Read + AsFd> Drain<R> {
    fn new(pipe: Option<R>) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(Self {
            pipe,
            kept: Vec::new(),
        })
    }

    fn read(&mut self) {
        let mut piece = [0; 4_096];
        // Limited, because a program could write faster than we read.
        for _ in 0..MAX_ANSWER / piece.len() {
            match self.pipe.as_mut().map(|pipe| pipe.read(&mut piece)) {
                Some(Ok(length @ 1..)) => {
                    let room = MAX_ANSWER.saturating_sub(self.kept.len());
                    self.kept
                        .extend_from_slice(piece.get(..length.min(room)).unwrap_or_default());
                }
                Some(Err(fault)) if fault.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use authkeys_core::user::UserName;
    use authkeys_testing::{STRANGER, has_root_and};

    use super::*;

    fn sh(script: &str, limit: u64) -> io::Result<ProgramOutput> {
        run(
            command("/bin/sh").args(["-c", script]),
            Duration::from_millis(limit),
            None,
        )
    }

    #[test]
    fn what_it_says_and_how_it_ends_are_told() {
        let answer = sh("echo one; echo two >&2; echo >&2; exit 3", 5_000).unwrap();
        assert_eq!(
            (
                answer.status.code(),
                answer.stdout.as_str(),
                answer.last_line()
            ),
            (Some(3), "one\n", "two")
        );
        assert_eq!(sh("cat", 5_000).unwrap().last_line(), "nothing");
        assert!(sh("yes | head -c 1000000", 5_000).unwrap().stdout.len() == MAX_ANSWER);
        let started = Instant::now();
        assert_eq!(
            sh("sleep 20 & echo gone", 18_000).unwrap().stdout,
            "gone\n",
            "a pipe that stays open"
        );
        assert!(started.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn f49_what_an_account_started_ends_with_a_program_that_takes_long_to_die() {
        if !has_root_and(&["python3"]) {
            return;
        }
        // The kernel frees the memory before it gives the children to us.
        let script = "import subprocess, time\n\
                      child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n\
                      memory = bytearray(400 << 20)\n\
                      open('pid', 'w').write(str(child.pid))\n\
                      time.sleep(60)\n";
        assert_eq!(state_after_its_end(script, STRANGER), None);
    }

    /// Runs a script of Python's until its time is over, as an account that no other test runs
    /// programs as. Returns the state of the process whose id it wrote into the file `pid`.
    fn state_after_its_end(script: &str, uid: u32) -> Option<char> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let account = Account {
            user: UserName::parse("stranger").unwrap(),
            uid,
            gid: uid,
            home: directory.path().to_owned(),
        };
        let mut python = command("/usr/bin/env");
        python.args(["python3", "-c", script]);
        as_account(&mut python, &account);
        python.current_dir(directory.path());
        let fault = run(&mut python, Duration::from_secs(8), Some(&account)).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut, "{fault}");
        bounded_state(written_pid(&directory.path().join("pid")))
    }

    #[test]
    fn f49_a_program_that_has_left_its_group_is_killed() {
        if !has_root_and(&["python3"]) {
            return;
        }
        let script = "import os, time\n\
                      os.setpgid(0, os.getsid(0))\n\
                      open('pid', 'w').write(str(os.getpid()))\n\
                      time.sleep(60)\n";
        assert_eq!(state_after_its_end(script, STRANGER + 1), None);
    }

    #[test]
    fn f33_a_program_that_hangs_is_killed_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let started = Instant::now();
        let script = format!(
            "trap '' TERM INT; sleep 60 & echo $! > {}; wait; sleep 60",
            file.display()
        );
        let fault = sh(&script, 2_000).unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(40));
        let pid = written_pid(&file);
        let started = Instant::now();
        // Its new parent may take a moment to reap it.
        let dead = |pid| {
            let state = bounded_state(pid);
            state.is_none_or(|state| state == 'Z')
        };
        while !dead(pid) {
            assert!(
                started.elapsed() < Duration::from_secs(40),
                "the grandchild lives"
            );
            thread::sleep(POLL);
        }
    }

    fn written_pid(file: &Path) -> i32 {
        let written = bounded::read(file, 64).unwrap().unwrap().content;
        String::from_utf8(written).unwrap().trim().parse().unwrap()
    }

    fn bounded_state(pid: i32) -> Option<char> {
        let stat = authkeys_terminal::bounded::read(format!("/proc/{pid}/stat").as_ref(), 4_096)
            .ok()??;
        String::from_utf8_lossy(&stat.content)
            .rsplit_once(") ")?
            .1
            .chars()
            .next()
    }
}
