//! An owner that doesn't answer. It takes its seconds, and so it is tried on one driver only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork_events::ConsumerState as _;

use super::World;
use super::ledger::{Ledger, consume, open};
use crate::checks::each_once_in_order;
use crate::feed::{Feed, subject_in};
use crate::owner::Owner;

#[tokio::test]
async fn an_owner_that_does_not_answer_keeps_others_waiting_for_seconds_only() {
    let (world, feed, owner) = (World::new(), Feed::new().await, Arc::new(Owner::default()));
    let ledger = Ledger::new(open(&world).await);
    // Of one partition, and of another.
    let (lost, behind, beside) = (subject_in(3, 0), subject_in(3, 1), subject_in(2, 0));
    owner.hangs(true);
    let (running, redriver) = consume(&feed, &ledger, Some(&owner));
    let began = Instant::now();
    for (subject, version) in [(&lost, 2), (&behind, 1), (&beside, 1)] {
        feed.publish(subject, version).await;
    }
    ledger.have_applied(&beside, 1).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    ledger.have_applied(&behind, 1).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let letter = ledger.state.first_of(&lost).await.unwrap().unwrap();
    let expected = format!("versions 1 to 1 of {lost} are missing, and shop could not be asked: no answer within 5 s");
    assert_eq!((letter.reason, owner.asked()), (expected, 1));

    owner.hangs(false);
    owner.hold(&lost, 2);
    assert_eq!(redriver.redrive(&lost).await.unwrap().left, None);
    running.stop().await;
    each_once_in_order(&ledger.applied().await, &[(&lost, 2), (&behind, 1), (&beside, 1)]).unwrap();
}
