//! What went wrong with a command, in a sentence that says what to do.

use std::time::Duration;

use fred::error::{Error, ErrorKind};

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
    ("CLUSTERDOWN", "the Redis cluster has slots without a server: look at CLUSTER INFO and CLUSTER SHARDS"),
];

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
    pub fn of(error: &Error) -> Self {
        let details = error.details();
        // An error within a script stands behind other words in Redis 6.
        let says = |word: &str| details.split(|c: char| !c.is_ascii_uppercase()).any(|part| part == word);
        if let Some((_, sentence)) = CANNOT_SERVE.iter().find(|(word, _)| says(word)) {
            return Self { leave: true, ..Self::answer((*sentence).to_owned()) };
        }
        if let Some((_, sentence)) = REFUSED.iter().find(|(word, _)| says(word)) {
            return Self::answer((*sentence).to_owned());
        }
        if matches!(error.kind(), ErrorKind::Routing) {
            let sentence = "the slot of a key is moving to another server of the Redis cluster".to_owned();
            return Self::silence(sentence);
        }
        let is_vague = matches!(error.kind(), ErrorKind::Canceled);
        Self { is_vague, ..Self::silence(format!("Redis failed: {details}")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(details: &'static str) -> Failure {
        Failure::of(&Error::new(ErrorKind::Unknown, details))
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
        assert!(Failure::of(&Error::new(ErrorKind::Canceled, "Connection closed unexpectedly.")).is_vague);
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
            assert!(!Failure::of(&Error::new(kind, details)).is_answer, "{details}");
        }
    }
}
