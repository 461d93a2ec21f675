//! What moves with an account, and with an address or a request, from one shard to another (SH-).

use meshwork_sql::shards::moving::{MovedTable, Rows, Target};

use super::{CLAIMS, USERS};

/// A table whose rows name their slot and their key, and move as they are.
const fn whole(table: &'static str, space: i16, key: &'static str, primary_key: &'static [&'static str]) -> MovedTable {
    MovedTable { table, space, primary_key, rows: Rows::Columns { slot: "slot", key }, target: Target::Same }
}

/// All tables that move, parents first. What the old owner has announced stays there until its time is over, and is history at
/// the new one, for consumers that have missed it.
pub const MOVED: &[MovedTable] = &[
    whole("users", USERS, "id", &["id"]),
    whole("sessions", USERS, "user_id", &["id"]),
    whole("refresh_tokens", USERS, "user_id", &["digest"]),
    whole("api_keys", USERS, "user_id", &["user_id", "id"]),
    whole("claim_ends", USERS, "user_id", &["claim"]),
    whole("replay", USERS, "key", &["principal", "method", "request_id"]),
    whole("outbox_history", USERS, "key", &["subject", "version"]),
    MovedTable {
        table: "outbox",
        space: USERS,
        primary_key: &["partition", "n"],
        rows: Rows::Through {
            // From the accounts of the piece by the index on subjects: the outbox holds those of all other pieces too.
            condition: "t.subject IN (SELECT 'users/' || u.id FROM users u WHERE {piece})",
            slot: "u.slot",
            key: "u.id",
        },
        target: Target::History {
            table: "outbox_history",
            select: "t.subject, t.version, t.type, t.schema_version, t.time, t.context, t.data, \
                     (SELECT u.slot FROM users u WHERE u.id = substr(t.subject, 7)) AS slot, substr(t.subject, 7) AS key",
            primary_key: &["subject", "version"],
        },
    },
    whole("email_claims", CLAIMS, "email_key", &["email_key"]),
    whole("request_homes", CLAIMS, "key", &["key"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_moves_once() {
        let mut tables: Vec<_> = MOVED.iter().map(|moved| moved.table).collect();
        tables.sort_unstable();
        tables.dedup();
        assert_eq!(tables.len(), MOVED.len());
    }
}
