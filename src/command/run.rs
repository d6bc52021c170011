//! `authkeysd run`: the service.

use std::path::Path;
use std::time::Duration;

use super::{Exit, check, complain, load, sync, system};
use crate::fetch::{Remote, RemoteReports, Sources};
use crate::host::Node;
use crate::report::journal;
use crate::service::{Identify, Looks, Notify, Parts, Service};
use authkeys_core::config::Config;
use authkeys_core::report::entries::Entry;
use authkeys_core::report::kind::Kind;
use authkeys_terminal::clock;

/// How long the exit waits for the last log entries to be written. A stop takes 2 s at most.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs the command.
pub(super) fn run(path: &Path) -> Exit {
    let setup = match load::config_or_exit(path) {
        Ok(config) => load::setup(config),
        Err(exit) => return exit,
    };
    if let Err(exit) = load::signers_or_exit(&setup.config) {
        return exit;
    }
    let under_journal = journal::is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref());
    if !(under_journal && journal::to_journal()) {
        journal::to_stderr();
    }
    std::panic::set_hook(Box::new(|panic| {
        // The default hook writes to stderr, and would block until somebody reads it.
        log(Kind::Fault, &format!("{panic}; report this as a bug"));
        journal::finish(LAST_WORDS);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Cycles block on one thread only. Starting it for each cycle costs more than the poll, and
        // ending it would wake the process up.
        .thread_keep_alive(Duration::from_secs(24 * 60 * 60))
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(fault) => {
            complain(&format!("cannot start: {fault}"));
            return Exit::Failed;
        }
    };
    warn(&setup.config);
    let remote = Remote::by_environment();
    let identify = remote.clone();
    let looks = remote.clone();
    let file = path.to_owned();
    let parts = Parts {
        fetch: Sources::new(remote.clone()),
        host: Node::default(),
        deliver: RemoteReports::new(remote, system::host()),
        load: move || {
            let config = match load::config(&file) {
                Ok(config) => config,
                Err(faults) => {
                    let mut lines = Vec::new();
                    for fault in &faults {
                        lines.push(load::fault_line(&file, fault));
                    }
                    return Err(lines.join("; "));
                }
            };
            load::signers(&config).map_err(|faults| faults.join("; "))?;
            warn(&config);
            Ok(load::setup(config))
        },
        clock,
        zone: system::sshd_zone,
        built: system::built(),
        identity: system::identity(),
        identify: Identify::by(async move {
            identify
                .wait_for_instance()
                .await
                .map(|instance| instance.id)
        }),
        looks: Looks::by(move |look| {
            let remote = looks.clone();
            async move { remote.look(&look).await }
        }),
        notify: notify(),
    };
    let ended = runtime.block_on(Service::new(parts, setup).run());
    // An account that hangs must not keep the process alive.
    runtime.shutdown_background();
    if let Err(fault) = &ended {
        log(Kind::Fault, &format!("the service ended: {fault}"));
    }
    journal::finish(LAST_WORDS);
    if ended.is_ok() {
        Exit::Good
    } else {
        Exit::Failed
    }
}

/// Logs one entry. From the first cycle on nothing is printed directly, because a reader that does
/// not read must not block the service.
fn log(kind: Kind, text: &str) {
    journal::tell(&Entry::new(kind, text));
}

/// Warns of settings that hardly anybody wants.
fn warn(config: &Config) {
    for text in sync::private_keys(config) {
        log(Kind::Warning, &format!("warning: {text}"));
    }
    for text in config.report.tag_names.warnings() {
        log(Kind::Warning, &format!("warning: {text}"));
    }
    check::warn_of_unread(config);
}

fn notify() -> Notify {
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    if socket.is_empty() {
        return Notify::nobody();
    }
    match Notify::connect(&socket) {
        Ok(notify) => {
            let usec = std::env::var("WATCHDOG_USEC").ok();
            let pid = std::env::var("WATCHDOG_PID").ok();
            notify.with_watchdog(usec.as_deref(), pid.as_deref())
        }
        Err(fault) => {
            log(
                Kind::Warning,
                &format!(
                    "warning: cannot reach the service manager at {}: {fault}",
                    socket.display()
                ),
            );
            Notify::nobody()
        }
    }
}
