//! Writes the document, and then checks what is there.

use std::time::Duration;

use super::before::serial_of;
use super::{Before, Draft, Manner, titled};
use crate::fault::failed;
use crate::{Exit, complain, print, progress};
use authkeys_aws::target::{NotWritten, PublishTarget, Published};
use authkeys_core::origin::{Class, FetchError};

/// How often the target is read before a written document counts as missing.
const READS: u32 = 4;

/// Writes, checks what is there, and reports it.
pub(super) async fn write(
    target: &PublishTarget,
    before: &Before,
    draft: &Draft,
    last: &[u8],
    manner: Manner,
) -> Result<(), Exit> {
    let writing = target.write(last, before.published.as_ref());
    let written = progress::shown(&format!("writing {target}"), writing).await;
    let mut version = "";
    let mut overwrote = None;
    if let Ok(written) = &written {
        for warning in &written.warnings {
            complain(&format!("warning: {warning}"));
        }
        version = &written.version;
        overwrote = written.overwrote.as_deref();
    }
    let reading = read_back(target, last, written.is_ok());
    let found = progress::shown(&format!("reading {target} back"), reading).await;
    let ours = matches!(&found, Ok(Some(found)) if found.bytes.as_slice() == last);
    match &written {
        // Even if the answer to our own write was lost: what is there now decides.
        _ if ours => {}
        Err(NotWritten::Lost) => {
            if let (Some(denied), Err(_)) = (&before.denied, &found) {
                let message = format!(
                    "{}; nothing was written: an object is there",
                    denied.message
                );
                return Err(failed(&FetchError {
                    message,
                    ..denied.clone()
                }));
            }
            let found = found.ok().flatten();
            if let (Some(now), Some(then)) = (&found, &before.published)
                && now.version == then.version
            {
                complain(&format!(
                    "{target}: the write was refused, although nothing changed there; publish again"
                ));
                return Err(Exit::Failed);
            }
            let what = match &found {
                Some(found) => format!(" (now {})", described(found)),
                None => String::new(),
            };
            complain(&format!(
                "{target}: somebody else published meanwhile{what}; nothing was overwritten: look \
                 at it, then publish again"
            ));
            return Err(Exit::Failed);
        }
        Err(NotWritten::Unclear) => {
            let what = match &found {
                Ok(Some(found)) => described(found),
                _ => "nothing".to_owned(),
            };
            complain(&format!(
                "{target}: an attempt to write got no answer, and {what} is there now: somebody \
                 else published meanwhile, before us or over what we wrote; look at it and at the \
                 version before it, then publish again"
            ));
            return Err(Exit::Failed);
        }
        Err(NotWritten::Failed(fault)) => {
            return Err(failed(match &before.denied {
                Some(denied) if fault.class == Class::Denied => denied,
                _ => fault,
            }));
        }
        Ok(_) => match found {
            Err(fault) => {
                complain(&format!(
                    "{target}: version {version} was written, but cannot be read back"
                ));
                return Err(failed(&fault));
            }
            Ok(found) => {
                let mut what = "nothing".to_owned();
                let mut serial = None;
                if let Some(found) = &found {
                    what = described(found);
                    serial = serial_of(&found.bytes);
                }
                if serial.is_none() || serial <= draft.document.serial {
                    complain(&format!(
                        "{target}: version {version} was written, but {what} is there now: \
                         somebody else wrote over it; look at both, then publish again"
                    ));
                    return Err(Exit::Failed);
                }
                complain(&format!(
                    "{target}: version {version} was written, and {what} of somebody else followed \
                     at once"
                ));
            }
        },
    }
    if let Some(overwrote) = overwrote {
        complain(&format!(
            "{target}: somebody else's version {overwrote} was overwritten by ours: no condition \
             of the service prevented it; look at both ({}), then publish again",
            target.lookup(overwrote)
        ));
        return Err(Exit::Failed);
    }
    let version = if version.is_empty() {
        String::new()
    } else {
        format!(", version {version}")
    };
    let text = format!(
        "published {} at {target}{version}, {}\n",
        titled(&draft.document),
        draft.document.digest
    );
    if manner == Manner::Step || print(text) {
        Ok(())
    } else {
        Err(Exit::Failed)
    }
}

/// What is there after a write; a service may take a moment to show it.
async fn read_back(
    target: &PublishTarget,
    wanted: &[u8],
    wait: bool,
) -> Result<Option<Published>, FetchError> {
    let mut read = 1;
    loop {
        let found = target.read().await;
        let seen = matches!(&found, Ok(Some(found)) if found.bytes.as_slice() == wanted);
        if seen || !wait || read == READS {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(200 * u64::from(read))).await;
        read += 1;
    }
}

fn described(published: &Published) -> String {
    let version = &published.version.label;
    match serial_of(&published.bytes) {
        Some(serial) => format!("serial {serial}, version {version}"),
        None => format!("version {version}"),
    }
}
