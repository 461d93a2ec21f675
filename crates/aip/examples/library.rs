//! A gRPC service of one file that keeps to the AIPs: creations that may be repeated, lists in pages with a filter and an order,
//! updates with a mask and an etag.
//!
//! `cargo run -p meshwork-aip --features mesh --example library`

#![allow(clippy::print_stdout, missing_docs, reason = "an example")]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use meshwork_aip::errors::{ETAG_MISMATCH, ErrorKind, REQUEST_ID_REUSED};
use meshwork_aip::name::Pattern;
use meshwork_aip::page::Page;
use meshwork_aip::request::{RequestId, hash, mark_replay};
use meshwork_aip::{Violations, etag, filter, mask, order_by, page};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

/// Whose errors they are.
const DOMAIN: &str = "library.example.com";
const BOOK: Pattern = Pattern::new("books/{book}");
const BOOK_NOT_FOUND: ErrorKind = ErrorKind::new("BOOK_NOT_FOUND", Code::NotFound, "There is no such book.");
const BOOK_EXISTS: ErrorKind = ErrorKind::new("BOOK_EXISTS", Code::AlreadyExists, "The id is another book's.");

/// The methods.
pub const CREATE: &str = "/library.v1.Library/CreateBook";
pub const LIST: &str = "/library.v1.Library/ListBooks";
pub const UPDATE: &str = "/library.v1.Library/UpdateBook";

/// A book. What `tonic-prost-build` makes of a contract looks the same.
#[derive(Clone, PartialEq, Message)]
pub struct Book {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub title: String,
    #[prost(string, tag = "3")]
    pub author: String,
    #[prost(string, tag = "4")]
    pub etag: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateBookRequest {
    #[prost(string, tag = "1")]
    pub book_id: String,
    #[prost(message, optional, tag = "2")]
    pub book: Option<Book>,
    #[prost(string, tag = "3")]
    pub request_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListBooksRequest {
    #[prost(int32, tag = "1")]
    pub page_size: i32,
    #[prost(string, tag = "2")]
    pub page_token: String,
    #[prost(string, tag = "3")]
    pub filter: String,
    #[prost(string, tag = "4")]
    pub order_by: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ListBooksResponse {
    #[prost(message, repeated, tag = "1")]
    pub books: Vec<Book>,
    #[prost(string, tag = "2")]
    pub next_page_token: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct UpdateBookRequest {
    #[prost(message, optional, tag = "1")]
    pub book: Option<Book>,
    #[prost(message, optional, tag = "2")]
    pub update_mask: Option<prost_types::FieldMask>,
}

/// What a library of one's own would have in its database.
#[derive(Default)]
struct Store {
    /// Each book with its version.
    books: BTreeMap<String, (i64, Book)>,
    /// What was answered to requests with an id. A service forgets them after a day or so.
    answers: HashMap<RequestId, ([u8; 32], Book)>,
}

/// The service.
#[derive(Clone, Default)]
pub struct Library(Arc<Mutex<Store>>);

impl Library {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create_book(&self, mut request: CreateBookRequest) -> Result<Response<Book>, Status> {
        let mut violations = Violations::new();
        let id = violations.request_id(&std::mem::take(&mut request.request_id));
        violations.chosen_id(&request.book_id, "book_id");
        let book = request.book.clone().unwrap_or_default();
        violations.text(&book.title, "book.title", 1, 200);
        violations.text(&book.author, "book.author", 1, 100);
        violations.finish(DOMAIN)?;
        let hash = hash(&request);
        let mut store = self.store();
        if let Some((first, book)) = id.and_then(|id| store.answers.get(&id)) {
            if *first != hash {
                return Err(REQUEST_ID_REUSED.status(DOMAIN, "the request_id came with another body before", &[]));
            }
            let mut response = Response::new(book.clone());
            mark_replay(&mut response);
            return Ok(response);
        }
        let name = format!("books/{}", request.book_id);
        if store.books.contains_key(&name) {
            return Err(BOOK_EXISTS.status(DOMAIN, format_args!("there is {name} already"), &[("book", &name)]));
        }
        let book = Book { name: name.clone(), etag: etag::format(1), ..book };
        store.books.insert(name, (1, book.clone()));
        if let Some(id) = id {
            store.answers.insert(id, (hash, book.clone()));
        }
        Ok(Response::new(book))
    }

    fn list_books(&self, request: &ListBooksRequest) -> Result<Response<ListBooksResponse>, Status> {
        let mut violations = Violations::new();
        let terms = filter::parse(&request.filter, &["author"], &mut violations);
        let order = order_by::parse(&request.order_by, &["name"], &mut violations);
        let arguments = [request.filter.as_str(), request.order_by.as_str()];
        let wanted = page::read(request.page_size, &request.page_token, &arguments, &mut violations);
        violations.finish(DOMAIN)?;
        let store = self.store();
        let descending = order.first().is_some_and(|term| term.descending);
        let author = terms.get("author");
        let is_behind = |name: &str| {
            wanted.after.as_deref().is_none_or(|after| if descending { name < after } else { name > after })
        };
        let books = store.books.values().map(|(_, book)| book);
        let mut books: Vec<_> = books
            .filter(|book| is_behind(&book.name) && author.is_none_or(|author| author == book.author))
            .cloned()
            .collect();
        if descending {
            books.reverse();
        }
        books.truncate(wanted.size + 1);
        let page = Page::cut(books, wanted.size, |book: &Book| book.name.clone(), |book: &Book| book.encoded_len());
        let next_page_token = page::token(page.next.as_deref(), &arguments);
        Ok(Response::new(ListBooksResponse { books: page.items, next_page_token }))
    }

    fn update_book(&self, request: UpdateBookRequest) -> Result<Response<Book>, Status> {
        let mut violations = Violations::new();
        let book = request.book.unwrap_or_default();
        if let Err(problem) = BOOK.parse(&book.name) {
            violations.add("book.name", problem);
        }
        let fields = [("title", !book.title.is_empty()), ("author", !book.author.is_empty())];
        let mask = request.update_mask.as_ref();
        let fields = mask::resolve(mask, &fields, &["name", "etag"], &mut violations);
        if fields.contains(&"title") {
            violations.text(&book.title, "book.title", 1, 200);
        }
        if fields.contains(&"author") {
            violations.text(&book.author, "book.author", 1, 100);
        }
        let expected = etag::parse(&book.etag).unwrap_or_else(|problem| {
            violations.add("book.etag", problem);
            None
        });
        violations.finish(DOMAIN)?;
        let about = [("book", book.name.as_str())];
        let mut store = self.store();
        let Some((version, known)) = store.books.get_mut(&book.name) else {
            return Err(BOOK_NOT_FOUND.status(DOMAIN, format_args!("there is no {}", book.name), &about));
        };
        if expected.is_some_and(|expected| expected != *version) {
            return Err(ETAG_MISMATCH.status(DOMAIN, format_args!("{} has changed", book.name), &about));
        }
        *version += 1;
        known.etag = etag::format(*version);
        for field in fields {
            match field {
                "title" => known.title.clone_from(&book.title),
                _ => known.author.clone_from(&book.author),
            }
        }
        Ok(Response::new(known.clone()))
    }
}

impl NamedService for Library {
    const NAME: &'static str = "library.v1.Library";
}

/// What generated code does: the messages of a call, and the method of its path.
impl Service<http::Request<Body>> for Library {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let library = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                CREATE => unary(request, move |message: CreateBookRequest| library.create_book(message)).await,
                LIST => unary(request, move |message: ListBooksRequest| library.list_books(&message)).await,
                UPDATE => unary(request, move |message: UpdateBookRequest| library.update_book(message)).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

async fn unary<Q, A>(
    request: http::Request<Body>,
    method: impl Fn(Q) -> Result<Response<A>, Status> + Send,
) -> http::Response<Body>
where
    Q: Message + Default + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let handler = tower::service_fn(move |request: Request<Q>| std::future::ready(method(request.into_inner())));
    Grpc::new(ProstCodec::<A, Q>::default()).unary(handler, request).await
}

/// Serves a new library at a port of its own, until the process ends.
///
/// # Errors
/// When there is no port.
pub async fn serve() -> Result<Channel, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder().add_service(Library::default());
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(Channel::from_shared(format!("http://{address}"))?.connect().await?)
}

/// What a generated client does.
///
/// # Errors
/// What the server answers.
pub async fn call<Q, A>(channel: &Channel, method: &'static str, request: Q) -> Result<Response<A>, Status>
where
    Q: Message + Default + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    client.unary(Request::new(request), PathAndQuery::from_static(method), ProstCodec::<Q, A>::default()).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let channel = serve().await?;
    for (book_id, title) in [("emma", "Emma"), ("persuasion", "Persuasion"), ("sanditon", "Sanditon")] {
        let book = Book { title: title.to_owned(), author: "Jane Austen".to_owned(), ..Book::default() };
        let request = CreateBookRequest { book_id: book_id.to_owned(), book: Some(book), ..Default::default() };
        let book: Book = call(&channel, CREATE, request).await?.into_inner();
        println!("made {} {}", book.name, book.etag);
    }
    let mut request = ListBooksRequest {
        page_size: 2,
        filter: "author = \"Jane Austen\"".to_owned(),
        order_by: "name desc".to_owned(),
        ..ListBooksRequest::default()
    };
    loop {
        let page: ListBooksResponse = call(&channel, LIST, request.clone()).await?.into_inner();
        let names: Vec<_> = page.books.iter().map(|book| book.name.as_str()).collect();
        println!("page {names:?}");
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let wrong = CreateBookRequest { book_id: "?".to_owned(), request_id: "again".to_owned(), ..Default::default() };
    if let Err(status) = call::<_, Book>(&channel, CREATE, wrong).await {
        println!("refused: {}", status.message());
    }
    Ok(())
}
