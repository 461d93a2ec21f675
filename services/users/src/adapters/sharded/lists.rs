//! Lists over the shards: merged in order, with a deadline for each.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use meshwork_aip::page::Page;
use meshwork_sql::Freshness;
use meshwork_sql::shards::same_marks;

use super::store::ShardedStore;
use crate::adapters::convert::user_bytes;
use crate::adapters::store::outcome::Part;
use crate::domain::User;
use crate::ports::{StoreError, UserCursor, UserFilter, UserPage, UserStore};

/// How long one shard may take to give its part of a list.
const PART: Duration = Duration::from_secs(2);
/// How long one may take that was away when it was asked last: enough to see that it is back.
const PART_OF_AWAY: Duration = Duration::from_millis(200);
/// How often the parts are read at most while accounts are moved from one to another.
const ATTEMPTS: u32 = 3;

/// The parts of those shards that have answered, and the names of the others.
type Parts = (Vec<Part>, Vec<String>);

impl ShardedStore {
    /// A page of the list over all shards.
    pub(super) async fn page(
        &self,
        filter: &UserFilter,
        size: usize,
        after: Option<&UserCursor>,
        freshness: Freshness,
    ) -> Result<UserPage, StoreError> {
        if let Some(email) = &filter.email {
            // There is one at most, and its claim leads to it.
            let found = self.find_by_email(email).await?.map(|account| account.user);
            let items = found.filter(|user| filter.holds(user, after)).into_iter().collect();
            return Ok(UserPage { page: Page { items, next: None }, unreachable: Vec::new() });
        }
        let limit = size.saturating_add(1);
        let (mut attempt, mut freshness) = (1, freshness);
        let (parts, unreachable) = loop {
            let (parts, unreachable) = self.parts(filter, limit, after, freshness).await?;
            // One that moved between two reads may have been seen by neither.
            if attempt >= ATTEMPTS || are_of_one_map(&parts) {
                break (parts, unreachable);
            }
            attempt += 1;
            // Replicas may be behind the move by as much as they are behind at all; the primaries are not.
            freshness = Freshness::Latest;
            if let Err(error) = self.shards.refresh().await {
                tracing::debug!(%error, "the shard maps can't be brought to one state at this moment");
            }
        };
        Ok(UserPage { page: merge(parts, size), unreachable })
    }

    async fn parts(
        &self,
        filter: &UserFilter,
        limit: usize,
        after: Option<&UserCursor>,
        freshness: Freshness,
    ) -> Result<Parts, StoreError> {
        let any_is_reached = self.shards.shards().iter().any(|shard| shard.is_reached());
        let gathered = self.shards.gather(PART, |shard| -> BoxFuture<'static, Result<Part, StoreError>> {
            let (store, filter, after) = (shard.part.clone(), filter.clone(), after.cloned());
            let freshness = freshness.at_shard(shard.id);
            // The others aren't kept waiting for one that is away.
            let within = if any_is_reached && !shard.is_reached() { PART_OF_AWAY } else { PART };
            Box::pin(async move {
                let listed = tokio::time::timeout(within, store.list(filter, limit, after, freshness)).await;
                listed.unwrap_or_else(|_| Err(StoreError::Unavailable("it has not answered in time".to_owned())))
            })
        });
        let (mut parts, mut unreachable, mut failed) = (Vec::new(), Vec::new(), None);
        for (_, name, part) in gathered.await {
            match part {
                Ok(part) => parts.push(part),
                Err(error) => {
                    tracing::warn!(shard = name, %error, "a list lacks the accounts of a shard");
                    failed = Some(format!("shard {name}: {error}"));
                    unreachable.push(name);
                }
            }
        }
        match failed {
            Some(sentence) if parts.is_empty() => Err(StoreError::Unavailable(sentence)),
            _ => Ok((parts, unreachable)),
        }
    }
}

/// Whether all parts were read while every database had the same map.
fn are_of_one_map(parts: &[Part]) -> bool {
    parts.iter().map(|part| part.mark).collect::<Option<Vec<_>>>().is_some_and(same_marks)
}

/// One page of the parts, in order. An account that has moved between two reads may be in two parts, and is listed once, as it was
/// changed last.
fn merge(parts: Vec<Part>, size: usize) -> Page<User> {
    let mut users: BTreeMap<UserCursor, Option<User>> = BTreeMap::new();
    for (cursor, user) in parts.into_iter().flat_map(|part| part.users) {
        let version = |user: &Option<User>| user.as_ref().map(|user| user.version);
        match users.get(&cursor) {
            Some(known) if version(known) >= version(&user) => {}
            _ => {
                users.insert(cursor, user);
            }
        }
    }
    let users: Vec<_> = users.into_iter().collect();
    let Page { items, next } =
        Page::cut(users, size, |(cursor, _)| cursor.to_string(), |(_, user)| user_bytes(user.as_ref()));
    Page { items: items.into_iter().filter_map(|(_, user)| user).collect(), next }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::domain::{NewUser, Role};

    fn user(id: &str, seconds: i64) -> (UserCursor, Option<User>) {
        let new = NewUser {
            name: meshwork_api::UserName::new(id).unwrap(),
            email: format!("{id}@example.com").parse().unwrap(),
            display_name: "Somebody".parse().unwrap(),
            role: Role::Customer,
        };
        let user = User::register(new, OffsetDateTime::UNIX_EPOCH + Duration::seconds(seconds));
        (UserCursor { micros: seconds * 1_000_000, id: id.to_owned() }, Some(user))
    }

    fn part(users: Vec<(UserCursor, Option<User>)>, mark: Option<i64>) -> Part {
        Part { users, mark }
    }

    #[test]
    fn parts_are_merged_in_order_and_an_account_of_two_is_listed_once() {
        let mut moved = user("d", 2);
        moved.1.as_mut().unwrap().version = 2;
        let parts = vec![
            part(vec![user("a", 1), user("d", 2), user("c", 3)], Some(1)),
            part(vec![user("b", 1), moved, user("e", 4)], Some(1)),
        ];
        let page = merge(parts.clone(), 3);
        let seen: Vec<_> = page.items.iter().map(|user| (user.name.id().to_owned(), user.version)).collect();
        assert_eq!(seen, [("a".to_owned(), 1), ("b".to_owned(), 1), ("d".to_owned(), 2)]);
        assert_eq!(page.next.as_deref(), Some("2000000 d"));
        assert_eq!(merge(parts, 5).next, None);
    }

    #[test]
    fn what_can_not_be_read_has_its_place_all_the_same() {
        let (cursor, _) = user("b", 2);
        let page = merge(vec![part(vec![user("a", 1), (cursor, None), user("c", 3)], None)], 2);
        assert_eq!((page.items.len(), page.next.as_deref()), (1, Some("2000000 b")));
    }

    #[test]
    fn only_parts_of_one_map_are_whole() {
        let of = |marks: &[Option<i64>]| marks.iter().map(|mark| part(Vec::new(), *mark)).collect::<Vec<_>>();
        assert!(are_of_one_map(&of(&[Some(1), Some(1)])) && are_of_one_map(&[]));
        assert!(!are_of_one_map(&of(&[Some(1), Some(2)])));
        assert!(!are_of_one_map(&of(&[None, None])));
    }
}
