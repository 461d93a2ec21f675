//! A primary with streaming replicas.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::{Mode, Postgres, USER};
use crate::process::PATIENCE;

/// A PostgreSQL with read replicas, all of the test's own: real streaming replication, on free ports of the loopback interface.
pub struct Cluster {
    primary: Postgres,
    replicas: Vec<Postgres>,
}

impl Postgres {
    /// A private server with so many streaming replicas. With `synchronous`, a commit is answered once one of them has it on its
    /// disk.
    ///
    /// # Panics
    /// As [`Postgres::private`].
    pub fn with_replicas(replicas: usize, synchronous: bool) -> Cluster {
        let mode = Mode { replication: true, ..Mode::default() };
        let primary = Self::run(mode);
        // All begin as copies of the same folder, and so as copies of one database system.
        let replicas = (0..replicas).map(|replica| {
            Self::run_prepared(mode, |data| {
                File::create(data.join("standby.signal")).unwrap();
                let mut settings = File::options().append(true).open(data.join("postgresql.auto.conf")).unwrap();
                writeln!(settings, "primary_conninfo = '{}'", follows(replica, &primary)).unwrap();
            })
        });
        let replicas: Vec<_> = replicas.collect();
        let cluster = Cluster { primary, replicas };
        let count = cluster.replicas.len().to_string();
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        cluster.primary.wait_for(streaming, &count);
        if synchronous {
            let names: Vec<_> = (0..cluster.replicas.len()).map(name).collect();
            let any = format!("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ({})'", names.join(", "));
            cluster.primary.sql("postgres", &any);
            cluster.primary.sql("postgres", "SELECT pg_reload_conf()");
            cluster.primary.wait_for("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'", &count);
        }
        cluster
    }

    /// Waits until a query gives this.
    fn wait_for(&self, query: &str, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.sql("postgres", query);
            if found == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{query} gives {found:?} instead of {expected:?} after {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Cluster {
    /// The server that was the primary at the start.
    pub fn primary(&self) -> &Postgres {
        &self.primary
    }

    /// The server that was the primary at the start, to kill and start it.
    pub fn primary_mut(&mut self) -> &mut Postgres {
        &mut self.primary
    }

    /// A server that was a replica at the start; the first is 0.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn replica(&self, replica: usize) -> &Postgres {
        &self.replicas[replica]
    }

    /// A server that was a replica at the start, to kill and start it.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn replica_mut(&mut self, replica: usize) -> &mut Postgres {
        &mut self.replicas[replica]
    }

    /// The URL, at the primary of the start, of a new, empty database, which all replicas have when it is returned.
    ///
    /// # Panics
    /// When it can't be made, or a replica doesn't run.
    pub fn database(&self) -> String {
        let url = self.primary.database();
        for replica in 0..self.replicas.len() {
            self.wait_for_replay(replica);
        }
        url
    }

    /// The URL, at a replica, of a database of [`Cluster::database`].
    ///
    /// # Panics
    /// When it is the URL of another server.
    pub fn replica_url(&self, replica: usize, database: &str) -> String {
        let path = database.strip_prefix(&self.primary.url).expect("the database isn't of this cluster");
        format!("{}{path}", self.replicas[replica].url)
    }

    /// The URLs, at all replicas, of a database of [`Cluster::database`].
    ///
    /// # Panics
    /// When it is the URL of another server.
    pub fn replica_urls(&self, database: &str) -> Vec<String> {
        (0..self.replicas.len()).map(|replica| self.replica_url(replica, database)).collect()
    }

    /// Has a replica receive what the primary writes, and replay none of it; returns when it does so.
    ///
    /// # Panics
    /// When it isn't a replica that runs.
    pub fn pause_replay(&self, replica: usize) {
        self.replicas[replica].sql("postgres", "SELECT pg_wal_replay_pause()");
        self.replicas[replica].wait_for("SELECT pg_get_wal_replay_pause_state()", "paused");
    }

    /// Lets a replica replay again what it has received.
    ///
    /// # Panics
    /// When it isn't a replica that runs.
    pub fn resume_replay(&self, replica: usize) {
        self.replicas[replica].sql("postgres", "SELECT pg_wal_replay_resume()");
    }

    /// Waits until a replica has replayed what the primary has written by now.
    ///
    /// # Panics
    /// When it doesn't within a minute, or one of them doesn't run.
    pub fn wait_for_replay(&self, replica: usize) {
        let written = self.primary.sql("postgres", "SELECT pg_current_wal_flush_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        self.replicas[replica].wait_for(&replayed, "t");
    }

    /// The replica that has received most: the one to promote when the primary is lost.
    ///
    /// # Panics
    /// When one of them doesn't run.
    pub fn most_advanced(&self) -> usize {
        let received = |replica: &usize| -> u64 {
            let sql = "SELECT pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')";
            self.replicas[*replica].sql("postgres", sql).parse().unwrap()
        };
        (0..self.replicas.len()).max_by_key(received).expect("there are no replicas")
    }

    /// Makes a replica the primary of a new timeline, and returns when it can be written to.
    ///
    /// # Panics
    /// When it isn't a replica that runs.
    pub fn promote(&self, replica: usize) {
        assert_eq!(self.replicas[replica].sql("postgres", "SELECT pg_promote(true, 60)"), "t", "it was not promoted");
    }

    /// Has a replica follow another server that was a replica at the start, and returns when it does.
    ///
    /// # Panics
    /// When one of them doesn't run, or their histories have parted.
    pub fn follow(&self, replica: usize, primary: usize) {
        let (follower, primary) = (&self.replicas[replica], &self.replicas[primary]);
        let set = format!("ALTER SYSTEM SET primary_conninfo = '{}'", follows(replica, primary));
        follower.sql("postgres", &set);
        follower.sql("postgres", "SELECT pg_reload_conf()");
        let name = name(replica);
        let streaming =
            format!("SELECT state FROM pg_stat_replication WHERE application_name = '{name}' AND state = 'streaming'");
        primary.wait_for(&streaming, "streaming");
    }
}

/// What a replica calls itself.
fn name(replica: usize) -> String {
    format!("replica_{replica}")
}

/// How a replica connects to the server that it follows.
fn follows(replica: usize, primary: &Postgres) -> String {
    format!("host=127.0.0.1 port={} user={USER} application_name={}", primary.own().port, name(replica))
}
