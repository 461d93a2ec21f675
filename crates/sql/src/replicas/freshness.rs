//! How fresh a read must be, and which server answers it then.

use super::position::WalPosition;
use crate::shards::ShardId;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Freshness {
    /// As the primary has it.
    #[default]
    Latest,
    /// A replica within the bounds of lag may answer.
    Bounded,
    /// A replica may answer that has replayed up to this position, so that a caller sees its own writes; else the primary.
    AtLeast(WalPosition),
}

impl Freshness {
    /// What others ask for, as a shard's servers know it: a position of another shard's log is met by none of its replicas
    /// ([`WalPosition::of_shard`]).
    #[must_use]
    pub fn at_shard(self, shard: ShardId) -> Self {
        match self {
            Self::AtLeast(position) => Self::AtLeast(position.of_shard(shard)),
            Self::Latest | Self::Bounded => self,
        }
    }
}

/// Where a read goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// To the primary.
    Primary,
    /// To this replica.
    Read(usize),
    /// To this replica if it says that it has replayed up to the position; else to the primary.
    Ask(usize),
}

/// The server for a read. `selected` has, by server, how far each replica that is read from had replayed when it was asked last;
/// `tried` are servers that have failed this read, and `turn` goes round among those that are as good.
pub(crate) fn choose(
    selected: &[Option<WalPosition>],
    freshness: Freshness,
    turn: usize,
    tried: Option<usize>,
) -> Choice {
    let pick = |fits: &dyn Fn(WalPosition) -> bool| {
        let fitting = || {
            let all = selected.iter().enumerate().filter(|(server, _)| Some(*server) != tried);
            all.filter(|(_, position)| position.is_some_and(fits)).map(|(server, _)| server)
        };
        let turn = turn.checked_rem(fitting().count())?;
        fitting().nth(turn)
    };
    let choice = match freshness {
        Freshness::Latest => None,
        Freshness::Bounded => pick(&|_| true).map(Choice::Read),
        Freshness::AtLeast(asked) => pick(&|position| position.covers(asked))
            .map(Choice::Read)
            .or_else(|| pick(&|position| position.is_comparable(asked)).map(Choice::Ask)),
    };
    choice.unwrap_or(Choice::Primary)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn position() -> impl Strategy<Value = WalPosition> {
        (1..3_u64, 1..3_u32, 0..5_u64).prop_map(|(system, timeline, lsn)| WalPosition { system, timeline, lsn })
    }

    fn freshness() -> impl Strategy<Value = Freshness> {
        prop_oneof![
            Just(Freshness::Latest),
            Just(Freshness::Bounded),
            Just(Freshness::AtLeast(WalPosition::UNKNOWN)),
            position().prop_map(Freshness::AtLeast),
        ]
    }

    proptest! {
        #[test]
        fn rr_only_a_selected_replica_that_is_fresh_enough_answers(
            selected in proptest::collection::vec(proptest::option::of(position()), 0..6),
            freshness in freshness(),
            turn in any::<usize>(),
            tried in proptest::option::of(0..6_usize),
        ) {
            let open = || selected.iter().enumerate().filter(|(at, _)| Some(*at) != tried).filter_map(|(_, it)| *it);
            match choose(&selected, freshness, turn, tried) {
                Choice::Primary => match freshness {
                    Freshness::Latest => {}
                    Freshness::Bounded => prop_assert_eq!(open().count(), 0),
                    Freshness::AtLeast(asked) => prop_assert!(!open().any(|it| it.is_comparable(asked))),
                },
                Choice::Read(server) => {
                    prop_assert!(Some(server) != tried);
                    let position = selected[server].unwrap();
                    match freshness {
                        Freshness::Latest => return Err(TestCaseError::fail("a replica isn't the latest")),
                        Freshness::Bounded => {}
                        Freshness::AtLeast(asked) => prop_assert!(position.covers(asked)),
                    }
                }
                Choice::Ask(server) => {
                    prop_assert!(Some(server) != tried);
                    let position = selected[server].unwrap();
                    let Freshness::AtLeast(asked) = freshness else {
                        return Err(TestCaseError::fail("only a position is asked for"));
                    };
                    prop_assert!(position.is_comparable(asked) && !open().any(|it| it.covers(asked)));
                }
            }
        }

        #[test]
        fn rr_turns_go_round_all_selected_replicas(
            selected in proptest::collection::vec(proptest::option::of(position()), 1..6),
            start in 0..1_000_usize,
        ) {
            let among: BTreeSet<_> = (0..selected.len()).filter(|at| selected[*at].is_some()).collect();
            let turns = (start..start + among.len()).filter_map(|turn| {
                match choose(&selected, Freshness::Bounded, turn, None) {
                    Choice::Read(server) => Some(server),
                    Choice::Primary | Choice::Ask(_) => None,
                }
            });
            prop_assert_eq!(turns.collect::<BTreeSet<_>>(), among);
        }
    }
}
