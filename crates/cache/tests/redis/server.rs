//! Redis servers, the names of their keys, and what a foreign client sees of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meshwork_testkit::Redis;
use meshwork_testkit::redis::Connection;

/// The bound of waits for what happens in the background.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One Redis for the tests that break none: it ends with the last of them.
pub(crate) fn shared() -> Arc<Redis> {
    static SHARED: Mutex<Weak<Redis>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let redis = Arc::new(Redis::start());
        *shared = Arc::downgrade(&redis);
        redis
    })
}

/// A prefix of the test's own, in a Redis that others may use too.
pub(crate) fn prefix(test: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{test}-{}-{}", std::process::id(), since.as_nanos())
}

/// The key that holds an article. `key` has no character that is encoded.
pub(crate) fn value_key(prefix: &str, key: &str) -> String {
    format!("{prefix}:v:articles:{{{key}}}")
}

/// The key of the lease of an article.
pub(crate) fn lease_key(prefix: &str, key: &str) -> String {
    format!("{prefix}:l:articles:{{{key}}}")
}

/// The key of the counter of a tag.
pub(crate) fn tag_key(prefix: &str, tag: &str) -> String {
    format!("{prefix}:t:{{{tag}}}")
}

/// The milliseconds that a key has left; negative when there is none, or it stays for ever.
pub(crate) fn pttl(connection: &mut Connection, key: &str) -> i64 {
    connection.command(&["PTTL", key]).parse().unwrap()
}

pub(crate) fn exists(connection: &mut Connection, key: &str) -> bool {
    connection.command(&["EXISTS", key]) == "1"
}

/// Waits for a condition, at most so long.
pub(crate) async fn eventually(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All commands that a Redis runs from now on, as `MONITOR` tells them: those of scripts come from the address `lua`.
pub(crate) struct Monitor(BufReader<TcpStream>);

impl Monitor {
    pub(crate) fn start(redis: &Redis) -> Self {
        let host = redis.url().trim_start_matches("redis://");
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), "+OK");
        Self(reader)
    }

    /// What was run up to now: the command's name in upper case, and whether a script ran it.
    pub(crate) fn end(mut self, redis: &Redis) -> Vec<(String, bool)> {
        const LAST: &str = "the-end-of-the-monitor";
        redis.connection().command(&["ECHO", LAST]);
        let mut commands = Vec::new();
        loop {
            let mut line = Vec::new();
            self.0.read_until(b'\n', &mut line).unwrap();
            let line = String::from_utf8_lossy(&line);
            if line.contains(LAST) {
                return commands;
            }
            let (address, command) = line.split_once("] ").unwrap();
            let name = command.trim_start_matches('"').split('"').next().unwrap().to_uppercase();
            commands.push((name, address.ends_with(" lua")));
        }
    }
}
