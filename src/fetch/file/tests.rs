use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Instant;

use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::*;

fn write(path: &Path, content: &[u8]) {
    File::create(path).unwrap().write_all(content).unwrap();
}

fn dir_with(content: &[u8]) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    write(&path, content);
    (dir, path)
}

fn fetched(path: &Path, known: Option<&Version>) -> Result<Fetched, FetchError> {
    answer_of(path, known, || ())
}

fn document(outcome: Result<Fetched, FetchError>) -> (Vec<u8>, Version) {
    match outcome {
        Ok(Fetched::Documents { current, .. }) => (current.bytes.to_vec(), current.version),
        other => panic!("{other:?}"),
    }
}

fn class(outcome: Result<Fetched, FetchError>) -> (Class, String) {
    let error = outcome.unwrap_err();
    (error.class, error.to_string())
}

#[test]
fn an_unchanged_file_is_not_even_opened() {
    let (dir, path) = dir_with(b"one");
    let (bytes, version) = document(fetched(&path, None));
    assert_eq!(bytes, b"one");
    let metadata = std::fs::metadata(&path).unwrap();
    let label = format!(
        "{}.{:09}-{}-3",
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ino()
    );
    assert_eq!(version.label, label);
    let reads = std::cell::Cell::new(0);
    let count = || reads.set(reads.get() + 1);
    assert_eq!(
        answer_of(&path, Some(&version), count),
        Ok(Fetched::Unchanged)
    );
    assert_eq!(reads.get(), 0);

    // The same length and content, but another file: renamed over it.
    let next = dir.path().join("next");
    write(&next, b"one");
    std::fs::rename(&next, &path).unwrap();
    assert_ne!(document(fetched(&path, Some(&version))).1, version);
}

#[test]
fn other_content_of_the_same_length_with_the_time_put_back_is_not_unchanged() {
    let (_dir, path) = dir_with(b"one");
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1);
    let set_back = || {
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap()
    };
    set_back();
    let (_, version) = document(fetched(&path, None));
    // The clock of files ticks coarsely.
    std::thread::sleep(Duration::from_millis(30));
    write(&path, b"two");
    set_back();
    assert_eq!(document(fetched(&path, Some(&version))).0, b"two");
}

#[test]
fn an_empty_file_is_an_empty_document_and_a_link_is_followed() {
    let (dir, path) = dir_with(b"");
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(document(fetched(&link, None)).0, b"");
}

#[test]
fn one_mebibyte_is_read_and_one_byte_more_is_refused() {
    let (_dir, path) = dir_with(&vec![b'#'; MAX_DOCUMENT]);
    assert_eq!(document(fetched(&path, None)).0.len(), MAX_DOCUMENT);
    write(&path, &vec![b'#'; MAX_DOCUMENT + 1]);
    let (class, message) = class(fetched(&path, None));
    assert_eq!(class, Class::Invalid);
    assert!(message.contains("larger than 1 MiB"), "{message}");
}

#[test]
fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    let (dir, _) = dir_with(b"");
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
    let start = Instant::now();
    for path in [
        fifo.as_path(),
        dir.path(),
        Path::new("/dev/zero"),
        Path::new("/dev/tty"),
    ] {
        let (class, message) = class(fetched(path, None));
        assert_eq!(class, Class::Invalid, "{message}");
        assert!(message.contains("regular file"), "{message}");
    }
    assert!(start.elapsed().as_secs() < 1);
}

#[test]
fn f36_a_file_that_is_away_or_closed_to_us_says_what_to_do() {
    let (dir, path) = dir_with(b"");
    let (missing, message) = class(fetched(&dir.path().join("none"), None));
    assert_eq!(missing, Class::Missing);
    assert!(
        message.contains("cannot stat") && message.contains("put the key set there"),
        "{message}"
    );
    assert_eq!(class(fetched(&path.join("below"), None)).0, Class::Invalid);
    let circle = dir.path().join("circle");
    symlink(&circle, &circle).unwrap();
    let (invalid, message) = class(fetched(&circle, None));
    assert_eq!(invalid, Class::Invalid);
    assert!(message.contains("in a circle"), "{message}");
    // Root reads everything: the classing alone is asked.
    let denied = failed(
        "open",
        &path,
        &std::io::Error::from(ErrorKind::PermissionDenied),
    );
    assert_eq!(denied.class, Class::Denied);
    assert!(
        denied.remedy.contains(&dir.path().display().to_string()),
        "{denied}"
    );
    assert_eq!(
        failed("read", &path, &std::io::Error::from_raw_os_error(5)).class,
        Class::Transient
    );
}

#[test]
fn f35_a_file_that_is_rewritten_while_it_is_read_is_read_once_more() {
    let (_dir, path) = dir_with(b"half");
    let mut writes = 1;
    let outcome = answer_of(&path, None, || {
        if writes > 0 {
            writes -= 1;
            write(&path, b"the whole document");
        }
    });
    assert_eq!(document(outcome).0, b"the whole document");
}

#[test]
fn f35_a_file_that_never_rests_is_a_transient_failure() {
    let (_dir, path) = dir_with(b"half");
    let mut length = 10;
    let (class, message) = class(answer_of(&path, None, || {
        length += 1;
        write(&path, &vec![b'#'; length]);
    }));
    assert_eq!((class, length), (Class::Transient, 12));
    assert!(message.contains("changed while it was read"), "{message}");
}

#[test]
fn f35_other_content_of_the_same_length_is_noticed() {
    let (_dir, path) = dir_with(b"one");
    let mut seconds = 1_000;
    let (class, _) = class(answer_of(&path, None, || {
        write(&path, b"two");
        // The clock of files ticks coarsely: two writes at once would bear one time.
        seconds += 1;
        let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }));
    assert_eq!(class, Class::Transient);
}

#[test]
fn f35_a_length_that_is_not_what_was_read_is_no_document() {
    // The kernel says that its own files are empty.
    assert_eq!(
        class(fetched(Path::new("/proc/version"), None)).0,
        Class::Transient
    );
}

#[tokio::test]
async fn f37_beside_a_reading_that_hangs_the_next_is_begun_ever_later() {
    let (_dir, path) = dir_with(b"one");
    let files = FileSources::default();
    let limit = Duration::from_secs(5);
    let (wake, sleep) = std::sync::mpsc::channel::<()>();
    let hangs = thread::spawn(move || sleep.recv().unwrap_or(()));
    let read = UnfinishedRead {
        thread: hangs,
        started: Instant::now() - limit,
    };
    files.readings().insert(path.clone(), vec![read]);
    let (class, message) = class(files.fetch(&path, None, limit).await);
    assert_eq!(class, Class::Transient);
    assert!(
        message.contains("an earlier reading of") && message.contains("network mount"),
        "{message}"
    );
    let (_dir, other) = dir_with(b"two");
    assert_eq!(document(files.fetch(&other, None, limit).await).0, b"two");
    // Another is tried later, for the file may be reached again although that one hangs for
    // ever; and from then on each time.
    files.readings().get_mut(&path).unwrap()[0].started -= PAUSES.first;
    for _ in 0..2 {
        assert_eq!(document(files.fetch(&path, None, limit).await).0, b"one");
    }
    drop(wake);
}

#[test]
fn f37_the_more_readings_hang_the_longer_the_next_one_waits() {
    let limit = Duration::from_secs(5);
    for (hanging, pause) in [(1, 60), (2, 120), (3, 240), (11, 61_200), (99, 61_200)] {
        let pause = Duration::from_secs(pause);
        let waits_after = |passed: Duration| {
            let read = || UnfinishedRead {
                thread: thread::spawn(|| ()),
                started: Instant::now() - passed,
            };
            waits(&Vec::from_iter((0..hanging).map(|_| read())), limit)
        };
        assert!(waits_after(pause - limit), "{hanging}");
        assert!(!waits_after(pause), "{hanging}");
    }
}

#[tokio::test]
async fn f60_a_file_that_is_read_at_the_same_time_is_read_for_both() {
    let (_dir, path) = dir_with(b"one");
    let files = FileSources::default();
    let limit = Duration::from_secs(60);
    let (wake, sleep) = std::sync::mpsc::channel::<()>();
    let read = UnfinishedRead {
        thread: thread::spawn(move || sleep.recv().unwrap_or(())),
        started: Instant::now(),
    };
    files.readings().insert(path.clone(), vec![read]);
    assert_eq!(document(files.fetch(&path, None, limit).await).0, b"one");
    assert_eq!(files.readings()[&path].len(), 1, "the other one goes on");
    drop(wake);
}

#[tokio::test]
async fn the_asynchronous_face_gives_the_same() {
    let (_dir, path) = dir_with(b"one");
    let files = FileSources::default();
    let limit = Duration::from_secs(5);
    let (bytes, version) = document(files.fetch(&path, None, limit).await);
    assert_eq!(bytes, b"one");
    assert_eq!(
        files.fetch(&path, Some(&version), limit).await,
        Ok(Fetched::Unchanged)
    );
}
