//! What must hold in the end, whatever has happened.

use std::collections::{BTreeMap, HashMap};

use meshwork_events::Envelope;
use meshwork_eventstore::Commit;

use crate::client::{PARTITIONS, Sent, Told};

/// Everything that is wrong with what a majority keeps, what writers were told and what was published.
pub(crate) fn violations(committed: &[Commit], sent: &[Sent], published: &[Vec<Envelope>]) -> Vec<String> {
    let mut wrong = Vec::new();
    versions_are_contiguous(committed, &mut wrong);
    positions_are_dense(committed, &mut wrong);
    commands_are_made_once(committed, sent, &mut wrong);
    everything_is_published_in_order(committed, published, &mut wrong);
    wrong
}

/// I7: versions 1 to k, without gap or overlap.
fn versions_are_contiguous(committed: &[Commit], wrong: &mut Vec<String>) {
    let mut streams: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for commit in committed.iter().filter(|commit| !commit.is_tombstone()) {
        streams.entry(&commit.stream).or_default().extend(commit.events.iter().map(|event| event.version));
    }
    for (stream, mut versions) in streams {
        versions.sort_unstable();
        if !versions.iter().copied().eq(1..=i64::try_from(versions.len()).unwrap()) {
            wrong.push(format!("{stream} has the versions {versions:?}"));
        }
    }
}

/// ES-3: positions 1 to k in each partition, tombstones included.
fn positions_are_dense(committed: &[Commit], wrong: &mut Vec<String>) {
    for partition in 0..PARTITIONS {
        let of_partition = committed.iter().filter(|commit| commit.position.partition == partition);
        let mut positions: Vec<_> = of_partition.map(|commit| commit.position.n).collect();
        positions.sort_unstable();
        if !positions.iter().copied().eq(1..=i64::try_from(positions.len()).unwrap()) {
            wrong.push(format!("partition {partition} has the positions {positions:?}"));
        }
    }
}

/// I4 and I11: what was acknowledged stands as it was acknowledged, what was refused doesn't, and nothing is made twice.
fn commands_are_made_once(committed: &[Commit], sent: &[Sent], wrong: &mut Vec<String>) {
    for Sent { stream, ids, told } in sent {
        let made: Vec<_> =
            committed.iter().filter(|commit| commit.stream == *stream && ids.contains(&commit.command_id)).collect();
        match (told, made.as_slice()) {
            (_, [_, _, ..]) => wrong.push(format!("{ids:?} on {stream} was made {} times", made.len())),
            (Told::Made(told), [made]) if told.as_ref() != *made => {
                wrong.push(format!("{ids:?} was told {:?} and stands at {:?}", told.position, made.position));
            }
            (Told::Made(told), []) => {
                wrong.push(format!("{ids:?} was acknowledged at {:?} and is lost", told.position))
            }
            (Told::Refused, [made]) => wrong.push(format!("{ids:?} was refused and stands at {:?}", made.position)),
            _ => {}
        }
    }
}

/// I8: what is published is what is kept, each event once, in order of position.
fn everything_is_published_in_order(committed: &[Commit], published: &[Vec<Envelope>], wrong: &mut Vec<String>) {
    for (partition, published) in (0..PARTITIONS).zip(published) {
        let mut commits: Vec<_> = committed.iter().filter(|commit| commit.position.partition == partition).collect();
        commits.sort_by_key(|commit| commit.position.n);
        let kept: Vec<_> = commits
            .iter()
            .flat_map(|commit| commit.events.iter().map(|event| Envelope::id_of(&commit.stream, event.version)))
            .collect();
        let seen: Vec<_> = published.iter().map(|event| event.id.clone()).collect();
        if seen != kept {
            let stored: HashMap<_, _> = kept.iter().map(|id| (id, ())).collect();
            let phantom = seen.iter().find(|id| !stored.contains_key(id));
            let lost = kept.iter().find(|id| !seen.contains(id));
            wrong.push(format!(
                "partition {partition}: {} events kept, {} published; never published: {lost:?}, never kept: {phantom:?}",
                kept.len(),
                seen.len()
            ));
            continue;
        }
        let data: Vec<_> = commits.iter().flat_map(|commit| commit.events.iter().map(|event| &event.data)).collect();
        if !published.iter().map(|event| &event.data).eq(data) {
            wrong.push(format!("partition {partition} was published with other contents than are kept"));
        }
    }
}
