//! Sockets that the service manager has bound: systemd's socket activation (`sd_listen_fds(3)`).

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::OnceLock;

use listenfd::ListenFd;
use socket2::SockRef;

/// As many sockets as one process takes.
const MOST: usize = 64;

/// What a socket is called that the manager gave no name (`sd_listen_fds_with_names(3)`).
const UNNAMED: &str = "unknown";

/// A socket that was inherited.
#[derive(Debug)]
pub(super) enum InheritedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl InheritedSocket {
    /// Another handle of the same socket, that doesn't block.
    fn copy(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(listener.try_clone()?)
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Self::Unix(listener.try_clone()?)
            }
        })
    }
}

/// The sockets of this process, taken once: a number of a file is nobody's but that of who took it first. They stay open to its
/// end, as they do at the manager, so that a server that starts again finds them.
static SOCKETS: OnceLock<Result<Vec<(String, InheritedSocket)>, String>> = OnceLock::new();

/// The sockets and their names.
///
/// # Errors
/// When the environment is not as the manager writes it, or one is no TCP or Unix socket that listens.
pub(super) fn sockets() -> io::Result<Vec<(String, InheritedSocket)>> {
    let invalid = |error: &String| io::Error::new(io::ErrorKind::InvalidInput, error.clone());
    let sockets = SOCKETS.get_or_init(take).as_ref().map_err(invalid)?;
    sockets.iter().map(|(name, socket)| Ok((name.clone(), socket.copy()?))).collect()
}

fn take() -> Result<Vec<(String, InheritedSocket)>, String> {
    let variable = |name: &str| std::env::var(name).ok();
    let (pid, count, names) = (variable("LISTEN_PID"), variable("LISTEN_FDS"), variable("LISTEN_FDNAMES"));
    let names = names_of(std::process::id(), pid.as_deref(), count.as_deref(), names.as_deref())?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut passed = ListenFd::from_env();
    names.into_iter().enumerate().map(|(place, name)| Ok((name.clone(), socket(&mut passed, place, &name)?))).collect()
}

fn socket(passed: &mut ListenFd, place: usize, name: &str) -> Result<InheritedSocket, String> {
    let refused = |why: &str| format!("the socket {name:?} that was passed in LISTEN_FDS {why}");
    let socket = match passed.take_tcp_listener(place) {
        Ok(Some(listener)) => InheritedSocket::Tcp(listener),
        _ => match passed.take_unix_listener(place) {
            Ok(Some(listener)) => InheritedSocket::Unix(listener),
            _ => return Err(refused("is neither a TCP nor a Unix stream socket; set ListenStream= in its unit")),
        },
    };
    let listens = match &socket {
        InheritedSocket::Tcp(listener) => SockRef::from(listener).is_listener(),
        InheritedSocket::Unix(listener) => SockRef::from(listener).is_listener(),
    };
    match listens {
        Ok(true) => Ok(socket),
        Ok(false) => Err(refused("is that of one connection; set Accept=no in its unit")),
        Err(error) => Err(refused(&format!("can't be looked at: {error}"))),
    }
}

/// The names of the sockets that were passed to the process `own`, in their order; none when they were passed to another one.
fn names_of(own: u32, pid: Option<&str>, count: Option<&str>, names: Option<&str>) -> Result<Vec<String>, String> {
    if pid.is_none_or(|pid| pid.parse() != Ok(own)) {
        return Ok(Vec::new());
    }
    let count: usize = count.unwrap_or("0").parse().map_err(|_| "LISTEN_FDS is no number".to_owned())?;
    if count > MOST {
        return Err(format!("LISTEN_FDS is {count}, and this program takes at most {MOST} sockets"));
    }
    let mut names: Vec<_> = match names {
        Some(names) if count > 0 => names.split(':').map(str::to_owned).collect(),
        _ => vec![UNNAMED.to_owned(); count],
    };
    if names.len() != count {
        return Err(format!("LISTEN_FDNAMES has {} names, and LISTEN_FDS is {count}", names.len()));
    }
    names.iter_mut().filter(|name| name.is_empty()).for_each(|name| UNNAMED.clone_into(name));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_socket_has_its_name() {
        let names = |count, names| names_of(7, Some("7"), Some(count), names);
        assert_eq!(names("2", Some("web:admin")).unwrap(), ["web", "admin"]);
        assert_eq!(names("2", Some("web:")).unwrap(), ["web", "unknown"]);
        assert_eq!(names("2", None).unwrap(), ["unknown", "unknown"]);
        assert!(names("0", Some("")).unwrap().is_empty());
        for (count, said) in [("2", Some("web")), ("1", Some("web:admin")), ("x", None), ("-1", None), ("65", None)] {
            assert!(names(count, said).is_err(), "{count}, {said:?}");
        }
    }

    #[test]
    fn what_was_passed_to_another_process_is_none_of_this_one() {
        for pid in [None, Some("8"), Some(""), Some("x")] {
            assert!(names_of(7, pid, Some("1"), None).unwrap().is_empty(), "{pid:?}");
        }
    }

    proptest! {
        #[test]
        fn there_are_as_many_names_as_sockets_or_none(count in "[0-9]{1,6}", names in prop::option::of(".{0,40}")) {
            if let Ok(found) = names_of(7, Some("7"), Some(&count), names.as_deref()) {
                prop_assert_eq!(found.len(), count.parse::<usize>().unwrap());
                prop_assert!(found.iter().all(|name| !name.is_empty()));
            }
        }
    }
}
