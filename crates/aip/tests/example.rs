//! The service of the example, called as its clients would.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../examples/library.rs"]
#[allow(dead_code, reason = "an example, of which the test needs a part")]
mod library;

use library::{Book, CREATE, CreateBookRequest, LIST, ListBooksRequest, ListBooksResponse, UPDATE, UpdateBookRequest};
use meshwork_aip::request::REPLAY;
use prost_types::FieldMask;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tonic_types::StatusExt as _;

fn creation(id: &str, request_id: &str) -> CreateBookRequest {
    let book = Book { title: id.to_uppercase(), author: "Jane Austen".to_owned(), ..Book::default() };
    CreateBookRequest { book_id: id.to_owned(), book: Some(book), request_id: request_id.to_owned() }
}

async fn create(channel: &Channel, request: CreateBookRequest) -> Result<Response<Book>, Status> {
    library::call(channel, CREATE, request).await
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn lists_come_in_pages_of_their_order() {
    let channel = library::serve().await.unwrap();
    for id in ["emma", "mansfield-park", "persuasion"] {
        create(&channel, creation(id, "")).await.unwrap();
    }
    let mut request = ListBooksRequest { page_size: 2, order_by: "name desc".to_owned(), ..Default::default() };
    let first: ListBooksResponse = library::call(&channel, LIST, request.clone()).await.unwrap().into_inner();
    request.page_token.clone_from(&first.next_page_token);
    let second: ListBooksResponse = library::call(&channel, LIST, request.clone()).await.unwrap().into_inner();
    let names: Vec<_> = first.books.iter().chain(&second.books).map(|book| book.name.as_str()).collect();
    assert_eq!(names, ["books/persuasion", "books/mansfield-park", "books/emma"]);
    assert_eq!((first.books.len(), second.next_page_token.as_str()), (2, ""));

    request.order_by = "name".to_owned();
    let other = library::call::<_, ListBooksResponse>(&channel, LIST, request).await.unwrap_err();
    assert_eq!(other.get_details_bad_request().unwrap().field_violations[0].field, "page_token");
}

#[tokio::test]
async fn a_creation_may_be_repeated_under_its_id_in_any_case() {
    let channel = library::serve().await.unwrap();
    let id = "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d";
    let made = create(&channel, creation("emma", id)).await.unwrap();
    assert!(made.metadata().get(REPLAY).is_none());
    let again = create(&channel, creation("emma", &id.to_uppercase())).await.unwrap();
    assert!(again.metadata().get(REPLAY).is_some());
    assert_eq!(made.into_inner(), again.into_inner());
    let other = create(&channel, creation("persuasion", id)).await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_of_the_version_that_was_read() {
    let channel = library::serve().await.unwrap();
    let made = create(&channel, creation("emma", "")).await.unwrap().into_inner();
    let book = Book { title: "Emma".to_owned(), author: "Nobody".to_owned(), ..made.clone() };
    let update_mask = Some(FieldMask { paths: vec!["title".to_owned()] });
    let request = UpdateBookRequest { book: Some(book), update_mask };
    let changed: Book = library::call(&channel, UPDATE, request.clone()).await.unwrap().into_inner();
    assert_eq!((changed.title.as_str(), changed.author.as_str()), ("Emma", "Jane Austen"));
    let stale = library::call::<_, Book>(&channel, UPDATE, request).await.unwrap_err();
    assert_eq!(reason(&stale), "ETAG_MISMATCH");
}
