//! What a Redis says that can't decide.

use fred::error::{Error, ErrorKind};

use crate::server::rate::redis::is_unfit;

fn says(details: &str) -> bool {
    is_unfit(&Error::new(ErrorKind::Unknown, details.to_owned()))
}

#[test]
fn s15_a_server_that_cannot_decide_is_known_by_the_word_that_it_says() {
    for details in [
        "READONLY You can't write against a read only replica. script: ae63, on @user_script:77.",
        "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a replica.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN Hash slot not served",
        "NOREPLICAS Not enough good replicas to write. script: ae63, on @user_script:77.",
    ] {
        assert!(says(details), "{details}");
    }
    for details in ["OOM command not allowed", "ERR something READONLYISH", "NOSCRIPT No matching script", ""] {
        assert!(!says(details), "{details}");
    }
}
