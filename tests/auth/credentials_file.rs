//! Tests of credentials that are read from files.

use std::{
    error::Error,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use turris_auth::{CredentialsFile, CredentialsFileError, TokenErrorKind, TurrisAuthLayer};
use turris_emulator::{Emulator, Limits};
use turris_test_support::EmulatorExt;

use super::support::{SECRET, settle};

/// Creates a separate folder.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("credentials-file-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn json(id: &str, secret: &str) -> String {
    serde_json::json!({ "clientId": id, "clientSecret": secret, "comment": 1 }).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_rotated_is_used_without_a_restart() {
    let path = folder("rotated").join("turris.json");
    let turris = Emulator::builder().client("client", "old").build().unwrap();
    fs::write(&path, json("client", "old")).unwrap();
    let layer = TurrisAuthLayer::builder(CredentialsFile::json(&path), turris.environment())
        .token_service(turris.service())
        .build()
        .unwrap();
    let handle = layer.handle();
    handle.warm_up().await.unwrap();

    turris.put_client("client", "new").unwrap();
    handle.invalidate();
    let error = handle.warm_up().await.unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::InvalidCredentials, "the file still has the old one");
    fs::write(&path, json("client", "new")).unwrap();
    assert_eq!(error.retry_after(), None, "waiting does not help");
    tokio::time::sleep(handle.status().retry_in().unwrap()).await;
    handle.warm_up().await.unwrap();
    settle().await;
    assert_eq!(turris.counters().token_requests, 3);
}

#[tokio::test]
async fn each_form_is_read_without_the_line_ends_after_a_value() {
    let folder = folder("forms");
    let (id, secret) = (folder.join("client-id"), folder.join("client-secret"));
    for end in ["", "\n", "\r\n", "\n\n"] {
        fs::write(&id, format!("client-1{end}")).unwrap();
        fs::write(&secret, format!("a secret{end}")).unwrap();
        let file = CredentialsFile::pair(&id, &secret);
        assert_eq!(file.read().await.unwrap().client_id(), "client-1");
        let turris = Emulator::builder().client("client-1", "a secret").build().unwrap();
        let layer = TurrisAuthLayer::builder(file, turris.environment()).token_service(turris.service());
        layer.build().unwrap().handle().warm_up().await.unwrap();
    }
    let path = folder.join("turris.json");
    fs::write(&path, json("client-2", "a \"quoted\" secret")).unwrap();
    assert_eq!(CredentialsFile::json(path).read().await.unwrap().client_id(), "client-2");
}

#[tokio::test]
async fn an_error_names_the_fault_of_a_file_and_does_not_show_its_content() {
    let folder = folder("wrong");
    let good = folder.join("good");
    fs::write(&good, "client").unwrap();
    let spaced = format!(" {SECRET}");
    let cases: [(Vec<u8>, &str); 10] = [
        (SECRET.into(), "a JSON object"),
        (format!("\"{SECRET}\"").into(), "a JSON object"),
        (format!(r#"["client","{SECRET}"]"#).into(), "a JSON object"),
        (format!(r#"{{"clientSecret":"{SECRET}"}}"#).into(), "a JSON object"),
        (format!(r#"{{"clientId":["{SECRET}"],"clientSecret":"{SECRET}"}}"#).into(), "a JSON object"),
        (json("client", "").into(), "client secret: expected text that is not empty"),
        (json("", SECRET).into(), "client id: expected text that is not empty"),
        (json(&spaced, SECRET).into(), "client id: expected text that is not empty, without the white space"),
        (json("client", &spaced).into(), "client secret: expected text that is not empty, without the white space"),
        (json("client", &"s".repeat(17_000)).into(), "longer than 16 KiB"),
    ];
    let path = folder.join("turris.json");
    for (content, expected) in cases {
        fs::write(&path, content).unwrap();
        assert_named(CredentialsFile::json(&path).read().await.unwrap_err(), &path, expected);
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert_named(CredentialsFile::pair(&good, &path).read().await.unwrap_err(), &path, "not UTF-8");
    fs::write(&path, spaced).unwrap();
    assert_named(
        CredentialsFile::pair(&good, &path).read().await.unwrap_err(),
        &path,
        "client secret: expected text that is not empty",
    );
    assert_named(
        CredentialsFile::pair(&path, &good).read().await.unwrap_err(),
        &path,
        "client id: expected text that is not empty",
    );

    let missing = folder.join("missing");
    let error = CredentialsFile::pair(&good, &missing).read().await.unwrap_err();
    let cause = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
    assert_named(error, &missing, "cannot be read");
}

#[track_caller]
fn assert_named(error: CredentialsFileError, path: &PathBuf, expected: &str) {
    assert_eq!(error.path(), path);
    let shown = format!("{error} {error:?}");
    assert!(shown.contains(expected) && shown.contains(path.to_str().unwrap()), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_file_is_the_source_of_a_token_error_and_costs_no_fetch() {
    let turris = Emulator::builder().build().unwrap();
    let file = CredentialsFile::json(folder("missing").join("turris.json"));
    let layer = TurrisAuthLayer::builder(file, turris.environment()).token_service(turris.service()).build().unwrap();
    let error = tokio::time::timeout(Duration::from_secs(60), layer.handle().warm_up()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), TokenErrorKind::CredentialsProvider);
    assert!(error.source().unwrap().source().unwrap().is::<CredentialsFileError>());
    assert_eq!(turris.counters().token_requests, 0);
}

#[test]
fn without_a_runtime_a_file_is_read_on_the_callers_thread() {
    let path = folder("runtime").join("turris.json");
    fs::write(&path, json("client", "secret")).unwrap();
    let read = CredentialsFile::json(path).read().now_or_never();
    assert_eq!(read.unwrap().unwrap().client_id(), "client");
}

/// Opening a pipe waits for its writer. Nothing can end that wait, and the shutdown of a runtime
/// waits for the thread.
#[cfg(unix)]
#[tokio::test]
async fn anything_but_a_regular_file_is_refused_before_it_is_opened() {
    let folder = folder("pipe");
    let pipe = folder.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let link = folder.join("link");
    std::os::unix::fs::symlink(&pipe, &link).unwrap();
    for path in [&pipe, &link] {
        let read = tokio::time::timeout(Duration::from_secs(10), CredentialsFile::json(path).read()).await;
        // Releases a reader that waits nevertheless, so that a failing test ends.
        drop(fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap());
        assert_named(read.expect("it is not opened").unwrap_err(), path, "not a regular file");
    }
    assert_named(CredentialsFile::json(&folder).read().await.unwrap_err(), &folder, "not a regular file");
    let endless = PathBuf::from("/dev/zero");
    assert_named(CredentialsFile::json(&endless).read().await.unwrap_err(), &endless, "not a regular file");
}

/// A secret as Kubernetes mounts it: links into a folder that is itself a link, and is replaced as
/// a whole.
#[cfg(unix)]
#[tokio::test]
async fn a_mounted_secret_is_read_through_its_links() {
    use std::os::unix::fs::symlink;
    let folder = folder("mounted");
    for (version, id) in [("1", "old"), ("2", "new")] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("client-id"), id).unwrap();
        fs::write(folder.join(version).join("client-secret"), SECRET).unwrap();
    }
    for key in ["client-id", "client-secret"] {
        symlink(PathBuf::from("..data").join(key), folder.join(key)).unwrap();
    }
    symlink("1", folder.join("..data")).unwrap();
    let files = CredentialsFile::pair(folder.join("client-id"), folder.join("client-secret"));
    assert_eq!(files.read().await.unwrap().client_id(), "old");
    symlink("2", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    assert_eq!(files.read().await.unwrap().client_id(), "new");
}

#[tokio::test]
async fn a_byte_order_mark_is_not_part_of_a_value() {
    let folder = folder("marks");
    let (id, secret, path) = (folder.join("id"), folder.join("secret"), folder.join("turris.json"));
    fs::write(&id, "\u{feff}client\r\n").unwrap();
    fs::write(&secret, "\u{feff}the secret\r\n").unwrap();
    fs::write(&path, format!("\u{feff}{}\r\n", json("client", "the secret"))).unwrap();
    for file in [CredentialsFile::pair(id, secret), CredentialsFile::json(&path)] {
        let turris = Emulator::builder().client("client", "the secret").build().unwrap();
        let layer = TurrisAuthLayer::builder(file, turris.environment()).token_service(turris.service());
        layer.build().unwrap().handle().warm_up().await.unwrap();
    }
    // In a JSON value the error names the byte order mark.
    fs::write(&path, json("client", "\u{feff}the secret")).unwrap();
    let error = CredentialsFile::json(&path).read().await.unwrap_err();
    assert!(error.to_string().contains("byte order mark"), "{error}");
}

/// Replaces the target of `link` over and over, until it is dropped.
#[cfg(unix)]
struct Swapping(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

#[cfg(unix)]
impl Swapping {
    fn between(targets: [PathBuf; 2], link: PathBuf, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let new = link.with_extension("new");
        std::os::unix::fs::symlink(&targets[0], &link).unwrap();
        let swapping = std::thread::spawn(move || {
            for target in targets.iter().cycle().skip(1) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                std::os::unix::fs::symlink(target, &new).unwrap();
                fs::rename(&new, &link).unwrap();
                std::thread::sleep(pause);
            }
        });
        Self(stop, Some(swapping))
    }
}

#[cfg(unix)]
impl Drop for Swapping {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        self.1.take().unwrap().join().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_becomes_a_pipe_delays_no_reader() {
    let folder = folder("becomes_a_pipe");
    let (file, pipe, link) = (folder.join("file"), folder.join("pipe"), folder.join("turris.json"));
    fs::write(&file, json("client", "secret")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let swapping = Swapping::between([file, pipe.clone()], link.clone(), Duration::ZERO);
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let credentials = CredentialsFile::json(&link);
        for _ in 0..20_000 {
            match credentials.read().now_or_never().unwrap() {
                Ok(read) => assert_eq!(read.client_id(), "client"),
                Err(error) => assert!(error.to_string().contains("not a regular file"), "{error}"),
            }
        }
        done.send(()).unwrap();
    });
    let result = finished.recv_timeout(Duration::from_secs(120));
    drop(swapping);
    // Releases a reader that waits nevertheless.
    drop(fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap());
    result.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_pair_that_is_swapped_while_it_is_read_is_never_mixed() {
    let folder = folder("swapped");
    for version in ["one", "two"] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("id"), format!("client-{version}")).unwrap();
        fs::write(folder.join(version).join("secret"), format!("secret-{version}")).unwrap();
    }
    let turris = Emulator::builder()
        .client("client-one", "secret-one")
        .client("client-two", "secret-two")
        .limits(Limits::default().token_requests(1_000))
        .build()
        .unwrap();
    let data = folder.join("data");
    let swapping = Swapping::between([folder.join("one"), folder.join("two")], data.clone(), Duration::from_millis(1));
    let files = CredentialsFile::pair(data.join("id"), data.join("secret"));
    for _ in 0..200 {
        let layer = TurrisAuthLayer::builder(files.clone(), turris.environment()).token_service(turris.service());
        layer.build().unwrap().handle().warm_up().await.unwrap();
    }
    drop(swapping);
    assert_eq!(turris.counters().token_requests, 200, "none was refused and repeated");
}

#[cfg(unix)]
#[tokio::test]
async fn two_files_in_two_folders_are_a_pair_too() {
    let folder = folder("two_folders");
    for (name, value) in [("a", "client"), ("b", SECRET)] {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("value"), value).unwrap();
    }
    let files = CredentialsFile::pair(folder.join("a/value"), folder.join("b/value"));
    assert_eq!(files.read().await.unwrap().client_id(), "client");
}
