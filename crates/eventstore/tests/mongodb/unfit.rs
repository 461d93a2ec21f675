//! A server that says yes to everything, and so enforces nothing (MG-5).

use meshwork_eventstore::mongodb::{MongoOptions, MongoServer, OpenError};
use mongodb::bson::{Document, doc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;

/// Answers every command as a standalone server that has carried it out.
async fn agree(mut stream: TcpStream) -> std::io::Result<()> {
    let reply: Document = doc! {
        "ok": 1.0, "n": 1, "ismaster": true, "isWritablePrimary": true, "helloOk": true, "readOnly": false,
        "minWireVersion": 0, "maxWireVersion": 21, "maxBsonObjectSize": 16_777_216,
        "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
    };
    let reply = mongodb::bson::serialize_to_vec(&reply).unwrap();
    loop {
        let length = stream.read_i32_le().await?;
        let id = stream.read_i32_le().await?;
        stream.read_i32_le().await?;
        let code = stream.read_i32_le().await?;
        let mut rest = vec![0; usize::try_from(length).unwrap() - 16];
        stream.read_exact(&mut rest).await?;
        let (answer, head): (i32, Vec<u8>) = match code {
            // Flags, cursor, start, one document.
            OP_QUERY => (OP_REPLY, [&[0; 16][..], &1_i32.to_le_bytes()].concat()),
            // Flags, and a section of the kind "body".
            _ => (OP_MSG, vec![0; 5]),
        };
        let length = i32::try_from(16 + head.len() + reply.len()).unwrap();
        let mut message = Vec::new();
        for number in [length, 1, id, answer] {
            message.extend(number.to_le_bytes());
        }
        message.extend(head);
        message.extend(&reply);
        stream.write_all(&message).await?;
    }
}

#[tokio::test]
async fn mg_5_a_server_that_does_not_enforce_unique_indexes_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("mongodb://{}/?directConnection=true", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(agree(stream));
        }
    });
    match MongoServer::open(&MongoOptions::new(uri)).await.map(drop) {
        Err(OpenError::Unfit(problem)) => assert!(problem.contains("same unique key"), "{problem}"),
        other => panic!("it was taken: {other:?}"),
    }
    server.abort();
}
