//! update-ssh-keys (CoreOS, Flatcar), which generates `authorized_keys` from the files in
//! `authorized_keys.d`.
//!
//! Started as root it would change to the user by itself, but keep root's groups and real uid while
//! it works in a directory that the user can change meanwhile. So it is started as the user, which
//! it permits, without any privileges.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, Mode};
use rustix::io::{Errno, retry_on_intr};

use super::program::ProgramOutput;
use super::walk::{Absent, Directory, below_home};
use super::{Account, HostError, program, read};
use authkeys_terminal::bounded;

/// Where it is looked for, in this order.
const PROGRAMS: [&str; 3] = [
    "/usr/bin/update-ssh-keys",
    "/usr/local/bin/update-ssh-keys",
    "/opt/bin/update-ssh-keys",
];

/// Without an action it rebuilds the file. The umask makes its temporary files private to the user.
const SCRIPT: &str = "umask 077 && exec \"$0\" -u \"$1\"";

/// How long the copy may be open for writing in a process that is about to become a program.
const BUSY: Duration = Duration::from_millis(500);
/// The most bytes that the program may have; it has about three million.
const MAX_PROGRAM: u64 = 64 << 20;

/// The path of the installed program.
pub(super) fn installed() -> Option<&'static str> {
    program::installed(PROGRAMS)
}

/// Runs it for the account. Success proves nothing: read what it generated.
pub(super) fn run(account: &Account, limit: Duration) -> Result<(), HostError> {
    let Some(program) = installed() else {
        return Ok(());
    };
    let ended = match untraceable(program, account, limit) {
        Some(ended) => ended,
        None => by_shell(program, account, limit),
    };
    let said = match ended {
        Ok(answer) if answer.status.success() => return Ok(()),
        Ok(answer) => format!("{} ({})", answer.last_line(), answer.status),
        Err(fault) if fault.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => format!(
            "{fault}: the account has as many processes as LimitNPROC= of the service permits"
        ),
        Err(fault) => fault.to_string(),
    };
    Err(HostError::Program {
        program,
        account: account.user.to_string(),
        said,
    })
}

/// Runs the program from a copy that the account can execute but not read. Then the kernel does not
/// let the account trace it or write into its memory. It uses tasks and memory of the service, so
/// it must stay the installed program. Returns `None` if this is not possible: a script must be
/// readable, and a kernel may refuse to execute such a file.
fn untraceable(
    program: &'static str,
    account: &Account,
    limit: Duration,
) -> Option<io::Result<ProgramOutput>> {
    if !program::is_another(account) {
        return None;
    }
    let content = bounded::read(Path::new(program), MAX_PROGRAM)
        .ok()??
        .content;
    if !content.starts_with(b"\x7fELF") {
        return None;
    }
    let copy = unreadable_copy(&content).ok()?;
    // Makes its temporary files private to the user. All our own files get their mode explicitly.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let started = Instant::now();
    loop {
        let mut command = program::command(&path);
        command.arg0(program);
        match run_as(&mut command, &["-u", account.user.as_str()], account, limit) {
            Err(fault) if fault.kind() == ErrorKind::PermissionDenied => return None,
            // A program that another thread starts just now may have the copy open for writing.
            Err(fault)
                if fault.kind() == ErrorKind::ExecutableFileBusy && started.elapsed() < BUSY =>
            {
                thread::sleep(BUSY / 50);
            }
            ended => return Some(ended),
        }
    }
}

/// A file without a name that others can execute but not read. It is open for reading, because a
/// file that is open for writing cannot be executed.
fn unreadable_copy(content: &[u8]) -> io::Result<File> {
    let mut written = File::from(rustix::fs::memfd_create(
        "update-ssh-keys",
        MemfdFlags::CLOEXEC,
    )?);
    written.write_all(content)?;
    rustix::fs::fchmod(&written, Mode::from_raw_mode(0o711))?;
    File::open(format!("/proc/self/fd/{}", written.as_raw_fd()))
}

fn by_shell(
    program: &'static str,
    account: &Account,
    limit: Duration,
) -> io::Result<ProgramOutput> {
    run_as(
        &mut program::command("/bin/sh"),
        &["-c", SCRIPT, program, account.user.as_str()],
        account,
        limit,
    )
}

fn run_as(
    command: &mut Command,
    arguments: &[&str],
    account: &Account,
    limit: Duration,
) -> io::Result<ProgramOutput> {
    program::as_account(command, account);
    program::run(command.args(arguments), limit, Some(account))
}

/// Syncs what it wrote, because not every version does. Runs as the calling thread's identity.
pub(super) fn make_durable(account: &Account, fragment: &OsStr) -> Result<(), HostError> {
    let below = Path::new(".ssh/authorized_keys.d").join(fragment);
    if let Some(directory) = below_home(account, &below, Absent::Leave)? {
        sync(&directory, fragment)?;
    }
    if let Some(directory) = below_home(account, Path::new(".ssh/authorized_keys"), Absent::Leave)?
    {
        sync(&directory, OsStr::new("authorized_keys"))?;
    }
    Ok(())
}

fn sync(directory: &Directory, name: &OsStr) -> Result<(), HostError> {
    let opened = directory.readable()?;
    if let Some(found) = directory.entry(name)?
        && read::regular(directory, name, &found).is_ok()
        && let Ok(file) = read::open(directory, name)
    {
        retry_on_intr(|| rustix::fs::fsync(&file))
            .map_err(|errno| directory.failed("sync", name, errno))?;
    }
    retry_on_intr(|| rustix::fs::fsync(&opened))
        .map_err(|errno| directory.failed("sync the directory", OsStr::new(""), errno))
}
