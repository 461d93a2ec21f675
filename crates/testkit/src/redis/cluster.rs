//! A cluster of private servers.

use super::{Connection, Redis, wait_until};
use crate::process::free_port;

/// How many slots the keys of a cluster are in.
const SLOTS: usize = 16_384;

/// A Redis Cluster on the loopback interface: primaries without replicas, which share the slots evenly.
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// A cluster of so many nodes; returns when all of them find it whole.
    ///
    /// # Panics
    /// As [`Redis::private`]; when there are no nodes, or they form no cluster within half a minute.
    pub fn start(nodes: usize) -> Self {
        assert!(nodes > 0, "a cluster has nodes");
        let nodes: Vec<(Redis, u16)> = (0..nodes).map(|_| node()).collect();
        let count = nodes.len();
        for (i, (redis, _)) in nodes.iter().enumerate() {
            let (first, last) = (SLOTS * i / count, SLOTS * (i + 1) / count - 1);
            let mut connection = redis.connection();
            connection.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            // Nodes that came about apart would have the same one, and quarrel about slots.
            connection.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
        }
        for (redis, bus) in &nodes[1..] {
            let (port, bus) = (redis.port().to_string(), bus.to_string());
            nodes[0].0.connection().command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let cluster = Self { nodes: nodes.into_iter().map(|(redis, _)| redis).collect() };
        for node in &cluster.nodes {
            wait_until("the cluster", || {
                let info = node.connection().command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{count}\r\n"))
            });
        }
        cluster
    }

    /// Its URL, `redis-cluster://host:port?node=…`, which names all nodes.
    pub fn url(&self) -> String {
        let mut url = format!("redis-cluster://127.0.0.1:{}", self.nodes[0].port());
        for (i, node) in self.nodes.iter().enumerate().skip(1) {
            url.push(if i == 1 { '?' } else { '&' });
            url.push_str(&format!("node=127.0.0.1:{}", node.port()));
        }
        url
    }

    /// The nodes, in the order of the slots that they had at the start.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The slot of a key.
    ///
    /// # Panics
    /// When the first node doesn't answer.
    pub fn slot(&self, key: &str) -> u16 {
        self.nodes[0].connection().command(&["CLUSTER", "KEYSLOT", key]).parse().unwrap()
    }

    /// The place, among [`RedisCluster::nodes`], of the one that has a slot.
    ///
    /// # Panics
    /// When a node doesn't answer, or none has it.
    pub fn owner(&self, slot: u16) -> usize {
        self.nodes
            .iter()
            .position(|node| {
                own_slots(&mut node.connection()).iter().any(|(first, last)| (*first..=*last).contains(&slot))
            })
            .unwrap_or_else(|| panic!("no node has slot {slot}"))
    }

    /// Moves a slot and its keys from one node to another, by their places, as an operator does under load.
    ///
    /// # Panics
    /// When a node doesn't answer, or `from` doesn't have the slot.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to);
        self.end_move(slot, from, to);
    }

    /// Begins to move a slot: what `from` doesn't have is asked of `to` from now on.
    ///
    /// # Panics
    /// As [`RedisCluster::move_slot`].
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (mut source, mut target) = (self.nodes[from].connection(), self.nodes[to].connection());
        let (source_id, target_id) = (source.command(&["CLUSTER", "MYID"]), target.command(&["CLUSTER", "MYID"]));
        target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
        source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
    }

    /// Moves the keys of a slot, and gives the slot to its new node.
    ///
    /// # Panics
    /// As [`RedisCluster::move_slot`].
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (mut source, port) = (self.nodes[from].connection(), self.nodes[to].port().to_string());
        loop {
            let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            migrate.extend(keys.lines());
            source.command(&migrate);
        }
        let id = self.nodes[to].connection().command(&["CLUSTER", "MYID"]);
        // The new node first: if it knew last, the old one could take the slot back.
        let others = (0..self.nodes.len()).filter(|place| *place != to);
        for place in std::iter::once(to).chain(others) {
            self.nodes[place].connection().command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }
}

/// A server that may be of a cluster, and the port at which the others speak with it.
fn node() -> (Redis, u16) {
    let bus = free_port();
    let bus_text = bus.to_string();
    let arguments = [
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus_text,
        "--cluster-announce-ip",
        "127.0.0.1",
        "--cluster-node-timeout",
        "2000",
    ];
    (Redis::private(&arguments), bus)
}

/// The ranges of slots that a node has.
fn own_slots(connection: &mut Connection) -> Vec<(u16, u16)> {
    let nodes = connection.command(&["CLUSTER", "NODES"]);
    let myself = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
    // Slots that are about to move stand in brackets behind the others.
    let ranges = myself.split(' ').skip(8).filter(|range| !range.starts_with('['));
    ranges
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect()
}
