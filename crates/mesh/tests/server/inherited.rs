//! Sockets that are passed as systemd passes them, to a process of its own: this program, which serves in the test below.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use meshwork::server::Listener;
use meshwork::{Channel, Server};

use crate::clients::At;
use crate::listeners::unix;
use crate::support::{Echo, UNARY, descriptors, unary};

/// What the child is to be passed: two sockets, as files 3 and 4, by its own number.
const SCRIPT: &str = r#"LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES="$NAMES" exec "$0" "$@" 3<&0 4<&1 0</dev/null 1>&2"#;

fn start(test: &str, names: &str, first: OwnedFd, second: OwnedFd) -> Child {
    Command::new("sh")
        .args(["-c", SCRIPT])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .env("NAMES", names)
        .stdin(Stdio::from(first))
        .stdout(Stdio::from(second))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "it is started with sockets by another test"]
fn serves_what_it_inherits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut listeners = Listener::inherited().unwrap().into_iter();
        let (first, second) = (listeners.next().unwrap(), listeners.next().unwrap());
        assert_eq!((first.name(), second.name(), listeners.count()), (Some("web"), Some("local"), 0));
        // Asked again, they are there again; its children are told of none.
        assert_eq!(Listener::inherited().unwrap().len(), 2);
        assert!(std::env::var("LISTEN_FDS").is_err());
        let server = Server::builder().listen(second).descriptors(descriptors()).add_service(Echo::default());
        server.serve_with_shutdown(first, std::future::pending()).await.unwrap();
    });
}

#[test]
#[ignore = "it is started with sockets by another test"]
fn refuses_what_it_can_not_serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let refused = Listener::inherited().unwrap_err().to_string();
        assert!(refused.contains("\"dns\"") && refused.contains("ListenStream="), "{refused}");
    });
}

#[tokio::test]
async fn inherited_sockets_are_served_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (web, local) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let address = web.local_addr().unwrap();
    let mut child = start("inherited::serves_what_it_inherits", "web:local", web.into(), local.into());
    let tcp = Channel::builder().connector(At::address(1)).connect_lazy(&format!("static:///{address}")).unwrap();
    // They wait in the sockets until somebody serves.
    let answers = (unary(&tcp, UNARY, "x").await, unary(&unix(&path), UNARY, "y").await);
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((answers.0.unwrap(), answers.1.unwrap()), ("x".to_owned(), "y".to_owned()), "{told}");
    // The socket is the manager's.
    assert!(path.exists());
}

#[test]
fn an_inherited_socket_of_another_kind_is_refused_by_its_name() {
    let (web, dns) = (TcpListener::bind("127.0.0.1:0").unwrap(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let child = start("inherited::refuses_what_it_can_not_serve", "web:dns", web.into(), dns.into());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
