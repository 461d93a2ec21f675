//! Certificates that change under a connector.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// A folder with the files of a client, and the options that name them.
struct Files {
    folder: TempDir,
    options: TlsOptions,
}

impl Files {
    fn new(ca: &Ca, identity: &Pair) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.crt"), ca.pem()).unwrap();
        identity.write(folder.path());
        let options = Self::options(folder.path());
        Self { folder, options }
    }

    fn options(folder: &Path) -> TlsOptions {
        TlsOptions::new()
            .ca_certificate_file(folder.join("ca.crt"))
            .identity_files(folder.join("tls.crt"), folder.join("tls.key"))
            .reload_interval(Duration::ZERO)
    }
}

#[tokio::test]
async fn a_new_identity_holds_for_new_connections_and_cuts_none() {
    let ca = Ca::new("one");
    let (old, new) = (ca.issue("old.test"), ca.issue("new.test"));
    let files = Files::new(&ca, &old);
    let server = Echo::start(server_config(&ca.issue("users.test"), Some(&ca)));
    let tls = server.tls(files.options.clone());
    let mut first = connect(&tls).await.unwrap();
    new.write(files.folder.path());
    let mut second = connect(&tls).await.unwrap();
    ping(&mut first).await.unwrap();
    ping(&mut second).await.unwrap();
    let seen: Vec<_> = server.seen().into_iter().map(|seen| seen.client.unwrap()).collect();
    assert_eq!(seen, [old.der(), new.der()]);
}

#[tokio::test]
async fn new_roots_hold_for_new_connections_and_cut_none() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let files = Files::new(&old, &old.issue("client.test"));
    let server = Echo::start(server_config(&old.issue("users.test"), None));
    let tls = server.tls(files.options.clone());
    let mut first = connect(&tls).await.unwrap();
    server.becomes(server_config(&new.issue("users.test"), None));
    assert!(connect(&tls).await.is_err(), "the new root is not trusted yet");
    fs::write(files.folder.path().join("ca.crt"), new.pem()).unwrap();
    connect(&tls).await.unwrap();
    ping(&mut first).await.unwrap();
    server.becomes(server_config(&old.issue("users.test"), None));
    assert!(connect(&tls).await.is_err(), "the old root is trusted no more");
}

#[tokio::test]
async fn sessions_are_not_resumed() {
    let ca = Ca::new("one");
    let files = Files::new(&ca, &ca.issue("client.test"));
    let server = Echo::start(server_config(&ca.issue("users.test"), Some(&ca)));
    let tls = server.tls(files.options.clone());
    for _ in 0..3 {
        connect(&tls).await.unwrap();
    }
    assert!(server.seen().iter().all(|seen| seen.kind == Some(HandshakeKind::Full)), "{:?}", server.seen());
}

#[tokio::test]
async fn half_written_files_are_refused_and_told_once() {
    let ca = Ca::new("one");
    let (old, new) = (ca.issue("old.test"), ca.issue("new.test"));
    let files = Files::new(&ca, &old);
    let path = |name: &str| files.folder.path().join(name);
    let server = Echo::start(server_config(&ca.issue("users.test"), Some(&ca)));
    let (observers, events) = told();
    let tls = Tls::new(server.connector.clone(), files.options.clone(), "users.test", observers).unwrap();
    let half = |whole: &str| whole[..whole.len() / 2].to_owned();

    fs::write(path("tls.crt"), half(&new.certificate)).unwrap();
    connect(&tls).await.unwrap();
    connect(&tls).await.unwrap();
    assert!(matches!(&events.lock().unwrap()[..], [told] if told.contains("tls.crt")), "{events:?}");
    fs::write(path("tls.crt"), &new.certificate).unwrap();
    connect(&tls).await.unwrap();
    assert!(matches!(&events.lock().unwrap()[1..], [told] if told.contains("tls.key")), "the key is still the old one");
    fs::write(path("tls.key"), half(&new.key)).unwrap();
    connect(&tls).await.unwrap();
    fs::write(path("tls.key"), "").unwrap();
    connect(&tls).await.unwrap();
    assert_eq!(events.lock().unwrap().len(), 4, "{events:?}");
    assert!(server.seen().iter().all(|seen| seen.client.as_ref() == Some(&old.der())), "the old identity holds on");

    fs::write(path("tls.key"), &new.key).unwrap();
    connect(&tls).await.unwrap();
    assert_eq!(server.seen().last().unwrap().client, Some(new.der()));
    connect(&tls).await.unwrap();
    assert_eq!(events.lock().unwrap()[4..], ["reloaded"]);
}

#[tokio::test]
async fn an_expired_identity_does_not_replace_a_valid_one() {
    let ca = Ca::new("one");
    let old = ca.issue("old.test");
    let files = Files::new(&ca, &old);
    let server = Echo::start(server_config(&ca.issue("users.test"), Some(&ca)));
    let (observers, events) = told();
    let tls = Tls::new(server.connector.clone(), files.options.clone(), "users.test", observers).unwrap();
    ca.expired("new.test").write(files.folder.path());
    connect(&tls).await.unwrap();
    connect(&tls).await.unwrap();
    assert!(matches!(&events.lock().unwrap()[..], [told] if told.contains("has expired")), "{events:?}");
    assert_eq!(server.seen()[1].client, Some(old.der()));
}

#[tokio::test]
async fn links_that_are_swapped_are_followed() {
    let ca = Ca::new("one");
    let (old, new) = (ca.issue("old.test"), ca.issue("new.test"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // As Kubernetes mounts a secret: files are links into `..data`, which is a link to a folder of one version.
    for (version, identity) in [("..1", &old), ("..2", &new)] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("ca.crt"), ca.pem()).unwrap();
        identity.write(&at(version));
    }
    symlink("..1", at("..data")).unwrap();
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let server = Echo::start(server_config(&ca.issue("users.test"), Some(&ca)));
    let tls = server.tls(Files::options(folder.path()));
    connect(&tls).await.unwrap();
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    connect(&tls).await.unwrap();
    let seen: Vec<_> = server.seen().into_iter().map(|seen| seen.client.unwrap()).collect();
    assert_eq!(seen, [old.der(), new.der()]);
}

#[tokio::test(start_paused = true)]
async fn files_are_looked_at_once_in_an_interval() {
    let ca = Ca::new("one");
    let (old, new) = (ca.issue("old.test"), ca.issue("new.test"));
    let files = Files::new(&ca, &old);
    let server = Echo::start(server_config(&ca.issue("users.test"), Some(&ca)));
    let tls = server.tls(files.options.clone().reload_interval(Duration::from_secs(10)));
    new.write(files.folder.path());
    tokio::time::advance(Duration::from_millis(9_900)).await;
    connect(&tls).await.unwrap();
    tokio::time::advance(Duration::from_millis(200)).await;
    connect(&tls).await.unwrap();
    let seen: Vec<_> = server.seen().into_iter().map(|seen| seen.client.unwrap()).collect();
    assert_eq!(seen, [old.der(), new.der()]);
    old.write(files.folder.path());
    assert!(tls.reload().await.unwrap(), "at once when asked to");
    connect(&tls).await.unwrap();
    assert_eq!(server.seen()[2].client, Some(old.der()));
}

#[tokio::test]
async fn connections_made_at_once_look_once() {
    let ca = Ca::new("one");
    let (old, new) = (ca.issue("old.test"), ca.issue("new.test"));
    let files = Files::new(&ca, &old);
    let server = Echo::start(server_config(&ca.issue("users.test"), Some(&ca)));
    let (observers, events) = told();
    let tls = Tls::new(server.connector.clone(), files.options.clone(), "users.test", observers).unwrap();
    new.write(files.folder.path());
    let made = futures_util::future::join_all((0..20).map(|_| connect(&tls))).await;
    assert!(made.iter().all(Result::is_ok));
    assert_eq!(*events.lock().unwrap(), ["reloaded"]);
    assert!(server.seen().iter().all(|seen| seen.client == Some(new.der())));
}
