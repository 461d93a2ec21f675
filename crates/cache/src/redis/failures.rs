//! What went wrong with a command, in a sentence that says what to do.

use std::time::Duration;

use fred::error::{Error, ErrorKind};

use super::place::{Place, Target};

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// For people.
    pub sentence: String,
    /// Whether this server can't serve, so that another is to be looked for by the URL.
    pub leave: bool,
    /// Whether it only says that there is no connection: the reason for that is known from elsewhere.
    pub is_vague: bool,
    /// Whether it surely is what the server answered: the connection works.
    pub is_answer: bool,
}

/// What a server answers that can't serve, and what that means.
const CANNOT_SERVE: [(&str, &str); 4] = [
    (
        "READONLY",
        "Redis is read-only, since the server was demoted to a replica: point the URL's name at the primary, or use \
         redis-sentinel:// or redis-cluster://",
    ),
    ("LOADING", "Redis is loading its data after a start; wait until it is done"),
    ("MASTERDOWN", "Redis is a replica that has lost its primary: point the URL's name at the primary"),
    ("CLUSTERDOWN", CLUSTER_DOWN),
];
const CLUSTER_DOWN: &str = "the Redis cluster has slots without a server: look at CLUSTER INFO and CLUSTER SHARDS";

/// Other answers that people can do something about.
const REFUSED: [(&str, &str); 5] = [
    ("NOAUTH", "Redis wants a password: set user and password in the URL"),
    ("WRONGPASS", "Redis refuses user or password: correct them in the URL"),
    ("NOPERM", "Redis does not permit this to the user: grant it the commands and the keys of the prefix"),
    ("MISCONF", "Redis cannot save its data and refuses writes: look at its log and its disk"),
    ("OOM", "Redis has no memory left and refuses writes: raise maxmemory, or set maxmemory-policy to allkeys-lru"),
];

impl Failure {
    /// From the client, or what the server answered.
    pub fn of(error: &Error, place: &Place) -> Self {
        let details = error.details();
        // An error within a script stands behind other words in Redis 6.
        let says = |word: &str| details.split(|c: char| !c.is_ascii_uppercase()).any(|part| part == word);
        if let Some((_, sentence)) = CANNOT_SERVE.iter().find(|(word, _)| says(word)) {
            return Self { leave: true, ..Self::answer((*sentence).to_owned()) };
        }
        if let Some((_, sentence)) = REFUSED.iter().find(|(word, _)| says(word)) {
            return Self::answer((*sentence).to_owned());
        }
        if let Some(sentence) = misled(details, place) {
            return Self::answer(sentence);
        }
        match error.kind() {
            ErrorKind::Canceled => {
                let sentence = format!("there is no connection to {}", place.servers);
                Self { is_vague: true, ..Self::silence(sentence) }
            }
            ErrorKind::Routing => {
                Self::silence("the slot of a key is moving to another server of the Redis cluster".to_owned())
            }
            ErrorKind::IO => Self::silence(broken(details, place)),
            ErrorKind::Timeout => Self::silence(unanswered(place)),
            ErrorKind::Protocol => Self::silence(foreign(details, place)),
            ErrorKind::Sentinel => Self::silence(astray(details, place)),
            _ => Self::silence(format!("Redis failed: {details}")),
        }
    }

    /// There was no answer in time.
    pub fn late(limit: Duration) -> Self {
        Self::silence(format!("Redis did not answer within {limit:?}"))
    }

    /// The answer is none that the script gives.
    pub fn unexpected(what: &str) -> Self {
        let sentence =
            format!("Redis gave an unexpected answer to {what}: is a proxy in between that changes answers?");
        Self::answer(sentence)
    }

    fn answer(sentence: String) -> Self {
        Self { sentence, leave: false, is_vague: false, is_answer: true }
    }

    /// Where an answer can't be told from what the client finds by itself, too.
    fn silence(sentence: String) -> Self {
        Self { sentence, leave: false, is_vague: false, is_answer: false }
    }
}

/// Answers by which the URL leads to something else than it says.
fn misled(details: &str, place: &Place) -> Option<String> {
    let Place { servers, target, database, .. } = place;
    let says = |words: &str| details.contains(words);
    let is_unknown = |command: &str| says("unknown command") && says(command);
    let is_node = says("SELECT is not allowed in cluster mode")
        || (*target != Target::Cluster && (details.starts_with("MOVED ") || details.starts_with("ASK ")));
    let sentence = if says("cluster support disabled") {
        format!("{servers} is a single server and no cluster: use redis:// in the URL, not redis-cluster://")
    } else if is_node {
        format!("{servers} belongs to a cluster: use redis-cluster:// in the URL, without a database")
    } else if says("DB index is out of range") {
        let database = database.unwrap_or_default();
        format!("there is no database {database} at {servers}: correct the number at the end of the URL")
    } else if is_unknown("SENTINEL") {
        format!("{servers} is no sentinel: correct the port in the URL, or use redis:// for the server itself")
    } else if is_unknown("EVAL") {
        format!("{servers} runs no scripts: use redis-sentinel:// in the URL if it is a sentinel, or another server")
    } else if is_unknown("HELLO") || details.starts_with("NOPROTO") {
        format!("{servers} does not speak RESP3: use Redis 6 or later, or another server that does")
    } else {
        return None;
    };
    Some(sentence)
}

/// What an error of the connection means.
fn broken(details: &str, place: &Place) -> String {
    let Place { servers, hosts, is_tls, .. } = place;
    let says_any = |words: &[&str]| words.iter().any(|word| details.contains(word));
    let is_closed = details.to_ascii_lowercase().contains("connection closed");
    if says_any(&["ConnectionRefused"]) {
        format!("nothing listens at {servers}: start Redis there, or correct the URL")
    } else if says_any(&["lookup address", "Failed to resolve"]) {
        format!("the name {hosts} is not known: correct the URL, or look at the DNS")
    } else if says_any(&["HostUnreachable", "NetworkUnreachable"]) {
        format!("there is no way to {servers}: look at the network, or correct the URL")
    } else if *is_tls && says_any(&["InvalidCertificate"]) {
        format!("the certificate of {servers} is refused ({details}): let the system trust who has signed it")
    } else if *is_tls && says_any(&["InvalidData", "handshake"]) {
        format!("{servers} did not complete a TLS handshake: is it a TLS port? If not, use redis:// in the URL")
    } else if says_any(&["ConnectionReset", "ConnectionAborted", "BrokenPipe", "UnexpectedEof"]) || is_closed {
        let hint = if *is_tls { "" } else { "; if it always does, it may want TLS: use rediss:// in the URL then" };
        format!("{servers} has closed the connection{hint}")
    } else {
        format!("the connection to {servers} failed ({details})")
    }
}

/// A connection was not made in time, or nothing was said on it.
fn unanswered(place: &Place) -> String {
    let Place { servers, is_tls, .. } = place;
    if *is_tls {
        format!(
            "{servers} did not complete a TLS handshake in time: is it a TLS port? If not, use redis:// in the URL; if it \
             is, look whether Redis hangs"
        )
    } else {
        format!(
            "{servers} was connected to, but gives no answer: look whether Redis hangs, or a firewall is in between"
        )
    }
}

/// What was answered is nothing that Redis says.
fn foreign(details: &str, place: &Place) -> String {
    let Place { servers, is_tls, .. } = place;
    if details.contains("cluster state") {
        return CLUSTER_DOWN.to_owned();
    }
    let hint = if *is_tls { "" } else { ", or wants TLS (rediss://)" };
    format!("what listens at {servers} is no Redis{hint}: correct the URL")
}

/// Sentinels lead to no primary.
fn astray(details: &str, place: &Place) -> String {
    let Place { servers, .. } = place;
    if details.contains("all sentinel nodes") {
        format!("no sentinel at {servers} answers, or takes user and password: start one, or correct the URL")
    } else if details.contains("Missing primary") {
        format!("the sentinels at {servers} look after no service of that name: correct sentinelServiceName in the URL")
    } else {
        format!("the primary that the sentinels at {servers} name can't be used ({details}): look at SENTINEL MASTERS")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str, kind: ErrorKind, details: &'static str) -> Failure {
        let config = fred::types::config::Config::from_url(url).unwrap();
        Failure::of(&Error::new(kind, details), &Place::of(&config))
    }

    fn failure(details: &'static str) -> Failure {
        of("redis://a", ErrorKind::Unknown, details)
    }

    #[test]
    fn a_server_that_cannot_serve_is_left() {
        for answer in [
            "READONLY You can't write against a read only replica. script: da38, on @user_script:1.",
            "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a replica.",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "CLUSTERDOWN The cluster is down",
        ] {
            assert!(failure(answer).leave && failure(answer).is_answer, "{answer}");
        }
    }

    #[test]
    fn other_answers_say_what_to_do_and_the_server_stays() {
        let refused = failure("WRONGPASS invalid username-password pair or user is disabled.");
        assert!(!refused.leave && refused.is_answer && refused.sentence.contains("URL"), "{refused:?}");
        let unknown = failure("ERR something READONLYISH");
        assert!(!unknown.leave, "{unknown:?}");
        assert_eq!(unknown.sentence, "Redis failed: ERR something READONLYISH");
    }

    #[test]
    fn no_connection_is_no_reason() {
        assert!(of("redis://a", ErrorKind::Canceled, "Connection closed unexpectedly.").is_vague);
        let late = Failure::late(Duration::from_millis(20));
        assert!(!late.is_vague && !late.is_answer);
    }

    #[test]
    fn what_the_client_says_is_no_answer_of_the_server() {
        for (kind, details) in [
            (ErrorKind::Backpressure, "Max in-flight commands reached."),
            (ErrorKind::Unknown, "Client is not initialized."),
            (ErrorKind::Routing, "Too many redirections."),
        ] {
            assert!(!of("redis://a", kind, details).is_answer, "{details}");
        }
    }

    #[test]
    fn messages_say_where_and_what_to_do_and_no_password() {
        let refused = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        let unknown = "Custom { kind: Uncategorized, error: \"failed to lookup address information: Name or service not \
                       known\" }";
        let reset = "Os { code: 104, kind: ConnectionReset, message: \"Connection reset by peer\" }";
        let no_tls = "Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) }";
        let late = "Request timed out.";
        let disabled = "ERR This instance has cluster support disabled";
        let moved = "MOVED 866 10.0.0.1:7001";
        for (url, kind, details, says) in [
            ("redis://anna:hidden@a:6380", ErrorKind::IO, refused, "nothing listens at a:6380"),
            ("redis://anna:hidden@a:6380", ErrorKind::IO, unknown, "the name a is not known"),
            ("redis://anna:hidden@a", ErrorKind::IO, reset, "a:6379 has closed the connection; if it always does"),
            ("redis://anna:hidden@a", ErrorKind::IO, "Connection closed.", "a:6379 has closed the connection"),
            ("redis://anna:hidden@a", ErrorKind::Protocol, "Decode Error: Invalid frame", "a:6379 is no Redis"),
            ("redis://anna:hidden@a", ErrorKind::Timeout, late, "a:6379 was connected to, but gives no answer"),
            (
                "redis://anna:hidden@a/99",
                ErrorKind::Unknown,
                "ERR DB index is out of range",
                "no database 99 at a:6379",
            ),
            ("redis-cluster://:hidden@a:1", ErrorKind::Config, disabled, "use redis://"),
            ("redis://:hidden@a:1", ErrorKind::Cluster, moved, "use redis-cluster://"),
            (
                "redis-sentinel://:hidden@a?sentinelServiceName=b",
                ErrorKind::Sentinel,
                "ERR unknown command 'SENTINEL'",
                "is no sentinel",
            ),
        ] {
            let sentence = of(url, kind, details).sentence;
            assert!(sentence.contains(says) && !sentence.contains("hidden"), "{sentence}");
        }
        let config = fred::types::config::Config::from_url("redis://a:6380").unwrap();
        let place = Place { is_tls: true, ..Place::of(&config) };
        for (kind, details) in [(ErrorKind::IO, no_tls), (ErrorKind::Timeout, late)] {
            let sentence = Failure::of(&Error::new(kind, details), &place).sentence;
            assert!(sentence.starts_with("a:6380 did not complete a TLS handshake"), "{sentence}");
        }
        assert!(!of("redis-cluster://a", ErrorKind::Cluster, moved).sentence.contains("redis-cluster://"));
    }
}
