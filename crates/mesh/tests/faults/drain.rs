//! Servers that say goodbye.

use meshwork::policy::Policy;

use crate::load::{Load, bounded, connected, explained, stream, until};
use crate::process::Server;

#[test]
fn a_stream_ends_well_on_a_server_that_drains_and_new_calls_go_elsewhere_without_an_error() {
    bounded(async {
        let mut servers = Server::three();
        // Without retries: what was not processed is sent again by itself.
        let (channel, _) = connected(Policy::default(), &servers).await;
        let load = Load::on(&channel);
        load.more(50).await;
        let mut answers = stream(&channel, 20).await.unwrap();
        let name = answers.message().await.unwrap().unwrap();
        let server = servers.iter_mut().find(|server| server.name() == name).unwrap();
        server.signal("TERM");
        let mut count = 1;
        while let Some(answer) = answers.message().await.map_err(|status| explained(&status)).unwrap() {
            assert_eq!(answer, name);
            count += 1;
        }
        assert_eq!(count, 20);
        until("the server ends", || server.has_ended()).await;
        let before = load.answered_by(server);
        load.more(100).await;
        assert_eq!(load.answered_by(server), before);
        load.end_without_failure().await;
    });
}
