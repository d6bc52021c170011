//! `authkeysctl publish`: from a file to what every node reads, without a step that could take a set of keys, or another
//! publisher's work, away unseen.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::input::{self, shown};
use super::lint::Judge;
use super::sign::{public_half, signed};
use super::verify::signing_key;
use super::{Exit, Publish, complain, print};
use authkeys_aws::target::{Earlier, NotWritten, Published, Target};
use authkeys_core::document::{self, Document, Envelope, Form, Serial};
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::outcome::chain;
use authkeys_core::publishing::diff::{Diff, lock_outs, readmitted};
use authkeys_core::publishing::edit::{next_serial, with_serial};
use authkeys_core::report::text::one_line;
use authkeys_terminal::clock;
use authkeys_terminal::{block_on, colour};

/// How often what was written is read before it counts as not to be found.
const READS: u32 = 4;

/// What is to be published, before it is signed.
struct Draft {
    name: String,
    text: Vec<u8>,
    document: Document,
    now: Timestamp,
}

/// What is published now, as far as it can be read.
struct Before {
    published: Option<Published>,
    document: Document,
    /// The highest serial that nodes may have from there, as far as it is known.
    serial: Option<Serial>,
    /// Why it is no document.
    unreadable: Option<String>,
    /// What was there before it was deleted, where nothing is there now.
    earlier: Option<Earlier>,
    /// Why it cannot be told whether anything is published there. It is then written only where nothing is.
    denied: Option<FetchError>,
}

/// Runs the command.
pub(super) fn run(options: &Publish) -> Result<Exit, Exit> {
    let target = Target::parse(&options.target).map_err(|fault| {
        complain(&format!("{fault}; see `authkeysctl publish --help`"));
        Exit::Usage
    })?;
    let mut judge = Judge::new(&options.judging, options.allowed_signers.as_deref())?;
    // A node may be told to take a private key; nobody is to be helped to publish one.
    judge.refuse_private_keys();
    let bytes = input::read(&options.document)?;
    block_on(publish(options, &target, &judge, &bytes)).unwrap_or_else(|fault| {
        complain(&format!("cannot start: {fault}"));
        Err(Exit::Failed)
    })
}

async fn publish(options: &Publish, target: &Target, judge: &Judge, bytes: &[u8]) -> Result<Exit, Exit> {
    let now = clock();
    let name = shown(&options.document);
    let unsigned = judge.without_signers();
    // What is not going to be signed here must be signed already, where that is asked for.
    let reader = if options.sign.is_some() { &unsigned } else { judge };
    // With --sign a signature that is there is replaced, whatever it is worth.
    let split = Envelope::split(bytes).ok();
    let resign = options.sign.is_some();
    let given =
        split.filter(|_| resign && document::form(bytes) != Form::Text).map_or(bytes, |envelope| envelope.payload);
    let (report, document) = reader.examine(&name, given, now);
    let unfit = report.unfit();
    let Some(document) = document.filter(|_| unfit.is_none()) else {
        report.tell();
        complain(&format!("{name} is not published: {}", unfit.unwrap_or_default()));
        return Err(Exit::Failed);
    };
    let refused = |why: String| {
        complain(&format!("{name} is not published: {why}"));
        Exit::Failed
    };

    let (published, denied) = match target.read().await {
        Ok(published) => (published, None),
        Err(fault) if target.may_be_missing(&fault) => (None, Some(fault)),
        Err(fault) => return Err(failed(&fault)),
    };
    let earlier = if published.is_none() { Some(target.earlier().await) } else { None };
    let before = Before { denied, ..Before::of(published, earlier, &unsigned) };
    let keep = !resign && document::form(given) == Form::Json && split.is_some_and(|e| e.signature.is_some());
    if keep && before.published.as_ref().is_some_and(|published| published.bytes.as_slice() == given) {
        print(format!("{target}: this is what is published already\n"));
        return Ok(Exit::Good);
    }
    if !keep && before.is(given, &document, options.sign.as_deref()) {
        print(format!("{target}: this is what is published already{}\n", before.numbered()));
        return Ok(Exit::Good);
    }
    let text = renumbered(given, &document, &before, keep).map_err(refused)?;
    let given_serial = document.serial;
    let (report, document) = reader.examine(&name, &text, now);
    report.tell();
    let document = document.ok_or_else(|| refused("its serial could not be set".to_owned()))?;
    let draft = Draft { name, text, document, now };

    let diff = Diff::of(&before.document, &draft.document);
    let concerns = concerns(&before, given_serial, &draft, !report.faults.is_empty(), resign);
    show(target, &before, &draft, &diff, &concerns);
    if options.dry_run {
        print("nothing was written: --dry-run\n");
        // What would be replaced was not seen: no difference was shown that anybody could rely on.
        return before.denied.as_ref().map_or(Ok(Exit::Good), |fault| Err(failed(fault)));
    }
    if !options.yes {
        confirm(target, &concerns)?;
    }

    let refused = |why: String| {
        complain(&format!("{} is not published: {why}", draft.name));
        Exit::Failed
    };
    let last = match &options.sign {
        Some(key) => signed(&draft.text, key).map_err(|fault| refused(chain(&fault)))?,
        None => draft.text.clone(),
    };
    let (report, document) = judge.examine(&draft.name, &last, clock());
    if report.unfit().is_some() || document.is_none() {
        return Err(refused(report.faults.join("; ")));
    }
    if let Some(why) = target.unfit(&last) {
        return Err(refused(why.to_owned()));
    }
    let (limit, why) = target.limit();
    if last.len() > limit {
        return Err(refused(format!("it has {} bytes, more than {limit}, {why}", last.len())));
    }
    write(target, &before, &draft, &last).await
}

/// Writes, looks at what is there then, and tells.
async fn write(target: &Target, before: &Before, draft: &Draft, last: &[u8]) -> Result<Exit, Exit> {
    let written = target.write(last, before.published.as_ref()).await;
    if let Ok(written) = &written {
        written.warnings.iter().for_each(|warning| complain(&format!("warning: {warning}")));
    }
    let (version, overwrote) = match &written {
        Ok(written) => (written.version.as_str(), written.overwrote.as_deref()),
        Err(_) => ("", None),
    };
    let found = read_back(target, last, written.is_ok()).await;
    let ours = matches!(&found, Ok(Some(found)) if found.bytes.as_slice() == last);
    match &written {
        // Also where the answer to our own write was lost on the way: what is there now decides.
        _ if ours => {}
        Err(NotWritten::Lost) => {
            if let (Some(denied), Err(_)) = (&before.denied, &found) {
                let message = format!("{}; nothing was written: an object is there", denied.message);
                return Err(failed(&FetchError { message, ..denied.clone() }));
            }
            let found = found.ok().flatten();
            let same =
                found.as_ref().zip(before.published.as_ref()).is_some_and(|(now, then)| now.version == then.version);
            if same {
                complain(&format!("{target}: the write was refused, although nothing changed there; publish again"));
                return Err(Exit::Failed);
            }
            let what = found.map_or(String::new(), |found| format!(" (now {})", described(&found)));
            complain(&format!(
                "{target}: somebody else published meanwhile{what}; nothing was overwritten: look at it, then publish again"
            ));
            return Err(Exit::Failed);
        }
        Err(NotWritten::Failed(fault)) => {
            let first = before.denied.as_ref().filter(|_| fault.class == Class::Denied);
            return Err(failed(first.unwrap_or(fault)));
        }
        Ok(_) => match found {
            Err(fault) => {
                complain(&format!("{target}: version {version} was written, but cannot be read back"));
                return Err(failed(&fault));
            }
            Ok(found) => {
                let what = found.as_ref().map_or("nothing".to_owned(), described);
                let serial = found.and_then(|found| serial_of(&found.bytes));
                if serial.is_none_or(|serial| Some(serial) <= draft.document.serial) {
                    complain(&format!(
                        "{target}: version {version} was written, but {what} is there now: somebody else wrote over it; \
                         look at both, then publish again"
                    ));
                    return Err(Exit::Failed);
                }
                complain(&format!(
                    "{target}: version {version} was written, and {what} of somebody else followed at once"
                ));
            }
        },
    }
    if let Some(overwrote) = overwrote {
        complain(&format!(
            "{target}: somebody else's version {overwrote} was overwritten by ours: no condition of the service prevented \
             it; look at both ({}), then publish again",
            target.lookup(overwrote)
        ));
        return Err(Exit::Failed);
    }
    let version = if version.is_empty() { String::new() } else { format!(", version {version}") };
    let told = format!("published {} at {target}{version}, {}\n", titled(&draft.document), draft.document.digest);
    Ok(if print(told) { Exit::Good } else { Exit::Failed })
}

/// What is there after a write; a service may take a moment to show it.
async fn read_back(target: &Target, wanted: &[u8], wait: bool) -> Result<Option<Published>, FetchError> {
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

impl Before {
    /// What was deleted is compared with as well: nodes go on as it said, and refuse its serial and lower ones.
    fn of(published: Option<Published>, earlier: Option<Earlier>, judge: &Judge) -> Self {
        let last = match (&published, &earlier) {
            (Some(published), _) | (None, Some(Earlier::Version(published))) => Some(published),
            (None, _) => None,
        };
        let (document, unreadable) = match last.map(|last| document::parse(&last.bytes, judge.rules())) {
            None => (Document::empty(), None),
            Some(Ok(document)) => (document, None),
            Some(Err(fault)) => (Document::empty(), Some(chain(&fault))),
        };
        let serial = last.and_then(|last| serial_of(&last.bytes));
        Self { published, document, serial, unreadable, earlier, denied: None }
    }

    /// Whether nothing but the serial of `given` would be another; signed by the same key, or neither signed.
    fn is(&self, given: &[u8], document: &Document, sign: Option<&Path>) -> bool {
        let Some(published) = &self.published else { return false };
        let payload = Envelope::split(&published.bytes).map_or(published.bytes.as_slice(), |e| e.payload);
        // A number of one's own that is higher is meant.
        if self.unreadable.is_some() || document.serial > self.serial {
            return false;
        }
        let same = match self.serial {
            Some(serial) => numbered(given, serial).is_ok_and(|text| text == payload),
            None => given == payload && document::form(given) != Form::Json,
        };
        let signature = || signing_key(&published.bytes).ok().flatten();
        same && match sign {
            Some(key) => signature().is_some_and(|by| public_half(key) == Some(by)),
            None => !self.signed(),
        }
    }

    fn numbered(&self) -> String {
        self.serial.map(|serial| format!(", with serial {serial}")).unwrap_or_default()
    }

    fn signed(&self) -> bool {
        self.published.as_ref().is_some_and(|published| matches!(signing_key(&published.bytes), Ok(Some(_))))
    }
}

/// The document with the serial that comes next, or as it is where it carries none or its signature is to be kept.
fn renumbered(given: &[u8], document: &Document, before: &Before, keep: bool) -> Result<Vec<u8>, String> {
    if document::form(given) != Form::Json {
        return match before.serial {
            None => Ok(given.to_vec()),
            Some(serial) => Err(format!(
                "what is published has the serial {serial}, and after that nodes take no document without one; write it \
                 as JSON, version 1"
            )),
        };
    }
    let next = next_serial(document.serial, before.serial).ok_or("there is no serial left below 2^53")?;
    if keep {
        return match document.serial {
            Some(own) if own == next => Ok(given.to_vec()),
            _ => Err(format!(
                "its signature does not let the serial be changed, which must be {next} or higher now; sign it again \
                 with that, or name the key with --sign"
            )),
        };
    }
    numbered(given, next)
}

/// The JSON document with that serial, as it is published.
fn numbered(given: &[u8], serial: Serial) -> Result<Vec<u8>, String> {
    let text = document::with_text(given, |text| with_serial(text, serial));
    let mut text = text.ok_or("its serial could not be set")?;
    // A signature has to begin a line.
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text.into_bytes())
}

/// What should not happen without a second look.
fn concerns(before: &Before, given: Option<Serial>, draft: &Draft, left_out: bool, sign: bool) -> Vec<String> {
    let mut concerns = lock_outs(&before.document, &draft.document, draft.now);
    concerns.extend(readmitted(&before.document, &draft.document));
    concerns.extend(begun_again(before, given, draft.document.serial));
    if let Some(fault) = &before.unreadable {
        concerns.push(format!("what is published is no document ({fault}), so that nothing can be compared with it"));
    }
    if left_out {
        concerns.push("nodes leave keys out of it".to_owned());
    }
    let signs = sign || matches!(signing_key(&draft.text), Ok(Some(_)));
    if before.signed() && !signs {
        concerns.push("what is published is signed, this is not: nodes that ask for a signature refuse it".to_owned());
    }
    if before.published.is_some() && before.unreadable.is_none() && before.document.audience != draft.document.audience
    {
        concerns.push("its audience is another: nodes that ask for the old one refuse it".to_owned());
    }
    concerns
}

/// After a deletion nodes go on refusing every serial up to the highest that they had.
fn begun_again(before: &Before, given: Option<Serial>, takes: Option<Serial>) -> Option<String> {
    let takes = takes.map_or("this one has no serial at all".to_owned(), |serial| format!("this one has {serial}"));
    match before.earlier.as_ref()? {
        // A number of one's own that is higher is meant.
        Earlier::Version(_) if before.serial.is_some() && given > before.serial => None,
        Earlier::Version(last) => Some(match before.serial {
            Some(serial) => format!(
                "it was deleted there: its last version ({}) had the serial {serial}, and nodes refuse that and lower ones; \
                 {takes}. If some node had a higher one, give the document a `serial` above that",
                last.version.label
            ),
            None => format!(
                "it was deleted there: its last version ({}) had no serial; {takes}. If nodes ever had one from there, \
                 give the document a `serial` above their highest",
                last.version.label
            ),
        }),
        Earlier::Unreadable => Some(format!(
            "it was deleted there, and what serial it had cannot be read: nodes refuse that and lower ones, and {takes}; \
             give the document a `serial` above the highest that `authkeysctl fleet` shows"
        )),
        Earlier::Unknown => None,
    }
}

fn show(target: &Target, before: &Before, draft: &Draft, diff: &Diff, concerns: &[String]) {
    let new = titled(&draft.document);
    let head = match &before.published {
        None if before.denied.is_some() && matches!(before.earlier, Some(Earlier::Unknown)) => {
            format!("{target}: what is published there cannot be read; if nothing is, this makes {new}")
        }
        None if !matches!(before.earlier, Some(Earlier::Unknown)) => {
            format!("{target}: what was published there was deleted; this makes {new}")
        }
        None => format!("{target}: nothing is published there yet; this makes {new}"),
        Some(_) if before.unreadable.is_some() => format!("{target}: {new}"),
        Some(_) => format!("{target}: {} -> {new}", titled(&before.document)),
    };
    let changes = if diff.is_empty() { "  no key changes\n".to_owned() } else { diff.render(colour()) };
    print(format!("{head}\n{changes}"));
    if before.denied.is_some() {
        print(
            "  S3 denied the read, as it does for an object that does not exist when s3:ListBucket is not granted. The key \
             set is written only if no object is there.\n",
        );
    }
    let first = Serial::try_from(1).ok();
    if matches!(before.earlier, Some(Earlier::Unknown)) && draft.document.serial <= first {
        print(
            "  If something was published there before and deleted, nodes refuse every serial up to its own: give the \
             document a `serial` above the highest that `authkeysctl fleet` shows.\n",
        );
    }
    concerns.iter().for_each(|concern| complain(&format!("warning: {concern}")));
}

/// Asks on the terminal; where there is none, what needs no second look goes on.
fn confirm(target: &Target, concerns: &[String]) -> Result<(), Exit> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let Some(mut terminal) = terminal.ok().filter(|_| std::io::stderr().is_terminal()) else {
        if concerns.is_empty() {
            return Ok(());
        }
        complain("nothing was written: there is no terminal to ask on; --yes publishes in spite of the warnings");
        return Err(Exit::Failed);
    };
    let mut answer = String::new();
    let asked = write!(terminal, "Publish this at {}? [y/N] ", one_line(&target.to_string()))
        .and_then(|()| BufReader::new(&terminal).read_line(&mut answer));
    if asked.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    complain("nothing was written");
    Err(Exit::Failed)
}

/// `NAME/SERIAL`, as fleets know it.
fn titled(document: &Document) -> String {
    match (&document.name, document.serial) {
        (Some(name), Some(serial)) => format!("{name}/{serial}"),
        (Some(name), None) => name.to_string(),
        (None, Some(serial)) => format!("serial {serial}"),
        (None, None) => "a document without name and serial".to_owned(),
    }
}

fn described(published: &Published) -> String {
    let serial = serial_of(&published.bytes).map_or(String::new(), |serial| format!("serial {serial}, "));
    format!("{serial}version {}", published.version.label)
}

/// The serial, also of a document that is refused for something else.
fn serial_of(bytes: &[u8]) -> Option<Serial> {
    let payload = Envelope::split(bytes).map_or(bytes, |envelope| envelope.payload);
    document::with_text(payload, authkeys_core::publishing::edit::serial)
}

fn failed(fault: &FetchError) -> Exit {
    // The services' remedies speak of a node's configuration.
    complain(&fault.to_string().replace("`source`", "the target").replace("; the keys in force stay", ""));
    fault.class.into()
}
